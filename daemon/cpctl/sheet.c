/* sheet.c: see sheet.h. */
#include "daemon/cpctl/sheet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/region.h"
#include "daemon/cpctl/cpctl.h"

static const char style[] =
    "@page{size:A4;margin:14mm}*{box-sizing:border-box}body{font:11pt/1.35 sans-serif;color:#000;margin:0 auto;max-width:182mm}"
    "h1{font-size:19pt;margin:0}h2{font-size:12.5pt;margin:4mm 0 1mm}p{margin:1mm 0}ol{margin:1mm 0;padding-left:7mm}li{margin:1mm 0}"
    ".code{font:bold 21pt monospace;border:1.2pt solid #000;padding:2.5mm;text-align:center;margin:2mm 0}"
    ".run{font:bold 11pt monospace}.facts{float:left}.warn{border:1.2pt solid #000;padding:1.5mm 3mm;margin:2mm 0}"
    ".cut{border-top:1pt dashed #000;margin-top:5mm;padding-top:2mm;clear:both;break-inside:avoid}";

static void put_text(FILE *out, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '&': fputs("&amp;", out); break;
		case '<': fputs("&lt;", out); break;
		case '>': fputs("&gt;", out); break;
		case '"': fputs("&quot;", out); break;
		default: fputc(*text, out);
		}
	}
}

static void write_code(FILE *out, const struct code *code)
{
	char text[CODE_TEXT_MAX];

	fprintf(out, "<p class=\"code\">%s</p>\n", code_format(code, text));
	crypto_wipe(text, sizeof(text));
}

static void write_head(FILE *out, const struct sheet *sheet)
{
	const struct certificate *certificate = sheet->certificate;
	char fingerprint[FINGERPRINT_TEXT_MAX];

	fprintf(out, "<!DOCTYPE html>\n<html lang=\"nl\"><head><meta charset=\"utf-8\"><title>Noodsteunpunt %u</title><style>%s</style></head><body>\n",
	    certificate->node, style);
	fputs("<div class=\"facts\"><h1>", out);
	put_text(out, certificate->name);
	fprintf(out, "</h1>\n<p>Nummer <b>%u</b>", certificate->node);
	if (*sheet->place) {
		fputs(", ", out);
		put_text(out, sheet->place);
	}
	fprintf(out, "<br>Veiligheidsregio ");
	put_text(out, sheet->anchor->name);
	fprintf(out, "<br>Kenmerk van de stick <b>%s</b><br>Kenmerk van de regio <b>%s</b></p></div>\n", sheet->mark,
	    region_anchor_fingerprint(sheet->anchor, fingerprint));
}

static void write_steps(FILE *out, const struct sheet *sheet)
{
	fputs("<div style=\"clear:both\"></div><p class=\"warn\"><b>Dit blad opent de stick.</b> Bewaar of verstuur blad en stick nooit samen in \xc3\xa9\xc3\xa9n envelop.</p>\n"
	    "<h2>Uw code</h2>\n", out);
	write_code(out, &sheet->codes[KIT_SLOT_VOLUNTEER]);
	fputs("<h2>Zo zet u het noodsteunpunt aan</h2>\n<ol>\n", out);
	fprintf(out, "<li>Zet het kastje aan. Steek de stick met <b>%u.sealed</b> erin. Er is geen internet nodig.</li>\n", sheet->certificate->node);
	fprintf(out, "<li>Typ: <span class=\"run\">sudo cpctl node install /media/stick/%u.sealed</span><br>Het programma noemt het kenmerk van de stick. "
	    "Is dat niet hetzelfde als op dit blad? Stop, en bel uw contact bij de gemeente.</li>\n", sheet->certificate->node);
	fputs("<li>Typ de code. Kleine letters en spaties mogen. Maakt u een fout, dan ziet u in welk groepje.</li>\n"
	    "<li>Typ: <span class=\"run\">sudo systemctl enable --now cpd</span></li>\n"
	    "<li>Typ: <span class=\"run\">cpctl status</span><br>Staat uw noodsteunpunt erbij? Dan is het klaar.</li>\n"
	    "<li>Versnipper dit blad en maak de stick leeg.</li>\n</ol>\n"
	    "<p>Is dit blad of de stick zoek, of heeft een ander ze gezien? Bel meteen uw contact bij de gemeente. De regio maakt de stick dan waardeloos.</p>\n", out);
}

bool sheet_write(const char *dir, const struct sheet *sheet)
{
	char name[40], path[FILE_PATH_MAX], *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	bool is_written;

	if (!out) {
		say_refused("memory is used up");
		return false;
	}
	write_head(out, sheet);
	write_steps(out, sheet);
	fputs("</body></html>\n", out);
	snprintf(name, sizeof(name), "sheets/%u.html", sheet->certificate->node);
	is_written = !fclose(out) && file_path(dir, name, path) && file_write(path, text, len);
	if (text)
		crypto_wipe(text, len);
	free(text);
	return is_written;
}
