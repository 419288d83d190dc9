/* code.c: see code.h. */
#include "crypto/code.h"

#include <string.h>

#include "crypto/crypto.h"

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

static int value_of(char sign)
{
	const char *at;

	if (sign >= 'a' && sign <= 'z')
		sign = (char)(sign - 'a' + 'A');
	if (sign == 'I' || sign == 'L')
		sign = '1';
	if (sign == 'O')
		sign = '0';
	at = sign ? strchr(alphabet, sign) : NULL;
	return at ? (int)(at - alphabet) : -1;
}

static char check_sign(const char *group, unsigned place)
{
	unsigned sum = 11 * place;

	for (unsigned i = 0; i < CODE_GROUP_SIGNS - 1; i++)
		sum += (2 * i + 1) * (unsigned)value_of(group[i]);
	return alphabet[sum % 32];
}

void code_make(struct code *out)
{
	uint8_t chance[CODE_SIGNS];

	crypto_random(chance, sizeof(chance));
	for (unsigned place = 0; place < CODE_GROUPS; place++) {
		char *group = out->signs + place * CODE_GROUP_SIGNS;

		for (unsigned i = 0; i < CODE_GROUP_SIGNS - 1; i++)
			group[i] = alphabet[chance[place * CODE_GROUP_SIGNS + i] % 32];
		group[CODE_GROUP_SIGNS - 1] = check_sign(group, place);
	}
	crypto_wipe(chance, sizeof(chance));
}

const char *code_format(const struct code *code, char out[CODE_TEXT_MAX])
{
	for (unsigned place = 0; place < CODE_GROUPS; place++) {
		memcpy(out + place * (CODE_GROUP_SIGNS + 1), code->signs + place * CODE_GROUP_SIGNS, CODE_GROUP_SIGNS);
		out[place * (CODE_GROUP_SIGNS + 1) + CODE_GROUP_SIGNS] = place + 1 < CODE_GROUPS ? '-' : '\0';
	}
	return out;
}

unsigned code_parse(struct slice text, struct code *out)
{
	size_t count = 0;

	memset(out, 0, sizeof(*out));
	for (size_t i = 0; i < text.len; i++) {
		char c = (char)text.data[i];
		int value = value_of(c);

		if (c == ' ' || c == '-' || c == '\t')
			continue;
		if (value < 0 || count == CODE_SIGNS) {
			count = 0;
			break;
		}
		out->signs[count++] = alphabet[value];
	}
	for (unsigned place = 0; count == CODE_SIGNS && place < CODE_GROUPS; place++) {
		const char *group = out->signs + place * CODE_GROUP_SIGNS;

		if (group[CODE_GROUP_SIGNS - 1] != check_sign(group, place)) {
			crypto_wipe(out, sizeof(*out));
			return place + 1;
		}
	}
	if (count == CODE_SIGNS)
		return 0;
	crypto_wipe(out, sizeof(*out));
	return CODE_GROUPS + 1;
}
