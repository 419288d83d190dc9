/* sheet.c: see sheet.h. The square is drawn by libqrencode. */
#include "daemon/cpctl/sheet.h"

#include <qrencode.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/region.h"
#include "daemon/cpctl/cpctl.h"

#define QUIET 4 /* white around a square, in its own dots: scanners want it */

static const char style[] =
    "@page{size:A4;margin:10mm 14mm}*{box-sizing:border-box}body{font:10pt/1.25 sans-serif;color:#000;margin:0 auto;max-width:182mm;overflow-wrap:anywhere}"
    "h1{font-size:14pt;line-height:1.15;margin:0 0 1mm}h2{font-size:12pt;margin:3mm 0 1mm}p{margin:1mm 0}ol{margin:1mm 0;padding-left:6mm}li{margin:.8mm 0}"
    ".top{position:relative;padding-right:34mm;min-height:31mm}svg{position:absolute;right:0;top:0;width:30mm;height:30mm}"
    ".code{font:bold 18pt monospace;border:1.2pt solid #000;padding:1.5mm;text-align:center;margin:2mm 0}"
    ".run{font:bold 10pt monospace}.warn{border:1.2pt solid #000;padding:1.2mm 3mm;margin:2mm 0}"
    ".cut{border-top:1pt dashed #000;margin-top:4mm;padding-top:2mm}";

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

/* The code and nothing else: a scanner is a keyboard, and types what the program asks for. */
static bool write_square(FILE *out, const char *text)
{
	QRcode *square = QRcode_encodeString(text, 0, QR_ECLEVEL_M, QR_MODE_8, 1);

	if (!square) {
		say_refused("the square of a sheet cannot be drawn: memory is used up");
		return false;
	}
	fprintf(out, "<svg viewBox=\"0 0 %d %d\" shape-rendering=\"crispEdges\"><path d=\"", square->width + 2 * QUIET, square->width + 2 * QUIET);
	for (int y = 0; y < square->width; y++)
		for (int x = 0; x < square->width; x++)
			if (square->data[y * square->width + x] & 1)
				fprintf(out, "M%d %dh1v1h-1z", x + QUIET, y + QUIET);
	fputs("\"/></svg>\n", out);
	/* It tells the code. */
	crypto_wipe(square->data, (size_t)square->width * (size_t)square->width);
	QRcode_free(square);
	return true;
}

static void write_facts(FILE *out, const struct sheet *sheet)
{
	fprintf(out, "<p>Nummer <b>%u</b>", sheet->certificate->node);
	if (*sheet->place) {
		fputs(", ", out);
		put_text(out, sheet->place);
	}
	fputs("<br>Veiligheidsregio ", out);
	put_text(out, sheet->anchor->name);
	fprintf(out, "<br>Kenmerk van de stick <b>%s</b></p>\n", sheet->mark);
}

static bool write_code(FILE *out, const struct code *code, const struct sheet *sheet, const char *title)
{
	char text[CODE_TEXT_MAX];
	bool is_drawn;

	fputs("<div class=\"top\">", out);
	is_drawn = write_square(out, code_format(code, text));
	fputs(title, out);
	put_text(out, sheet->certificate->name);
	fputs(title[1] == 'h' && title[2] == '1' ? "</h1>\n" : "</h2>\n", out);
	write_facts(out, sheet);
	fprintf(out, "</div><p class=\"code\">%s</p>\n", text);
	crypto_wipe(text, sizeof(text));
	return is_drawn;
}

static void write_steps(FILE *out, const struct sheet *sheet)
{
	char fingerprint[FINGERPRINT_TEXT_MAX];
	unsigned node = sheet->certificate->node;

	fprintf(out, "<p class=\"warn\"><b>Dit blad opent de stick.</b> Bewaar of verstuur blad en stick nooit samen in \xc3\xa9\xc3\xa9n envelop.</p>\n"
	    "<h2>Zo zet u het noodsteunpunt aan</h2>\n<ol>\n"
	    "<li>Zet het kastje aan. Steek de stick met het bestand <b>%u.sealed</b> erin. Internet is niet nodig.</li>\n"
	    "<li>Typ <span class=\"run\">sudo cpctl node install /media/stick/%u.sealed</span><br>U ziet het kenmerk van de stick (<i>mark</i>). "
	    "Staat er iets anders dan op dit blad? Stop, en bel uw contact bij de gemeente.</li>\n", node, node);
	fprintf(out, "<li>Typ de code van hierboven. Kleine letters en spaties mogen. Bij een tikfout ziet u in welk groepje (<i>group</i>). "
	    "Hebt u een scanner? Scan dan het vierkant.</li>\n"
	    "<li>U ziet <i>Region's fingerprint</i>. Dat moet zijn: <b>%s</b></li>\n"
	    "<li>Typ <span class=\"run\">sudo systemctl enable --now cpd</span></li>\n"
	    "<li>Typ <span class=\"run\">cpctl status</span> &nbsp;Ziet u uw noodsteunpunt? Dan is het klaar.</li>\n"
	    "<li>Versnipper dit blad. Maak de stick leeg.</li>\n</ol>\n", region_anchor_fingerprint(sheet->anchor, fingerprint));
	fputs("<p>Is dit blad of de stick zoek, of heeft een ander ze gezien? Bel meteen uw contact bij de gemeente. De regio trekt de stick dan in.</p>\n", out);
}

static bool write_emergency(FILE *out, const struct sheet *sheet)
{
	bool is_drawn;

	fputs("<div class=\"cut\"><p>&#9986; <b>Knip hier af.</b> Vouw dit deel dicht en plak het in een eigen envelop. Schrijf erop: \xe2\x80\x9cnoodcode\xe2\x80\x9d en het nummer.</p>\n", out);
	is_drawn = write_code(out, &sheet->codes[KIT_SLOT_EMERGENCY], sheet, "<h2>Noodcode: ");
	fprintf(out, "<p><b>Alleen als de vrijwilliger van dit noodsteunpunt er niet is.</b> Het gebruik van deze code wordt vastgelegd, en gemeld aan elk co\xc3\xb6rdinatiepunt.<br>"
	    "Steek de stick in het kastje. Typ <span class=\"run\">sudo cpctl node install /media/stick/%u.sealed --who 'uw naam'</span><br>"
	    "Typ de code. Typ <span class=\"run\">sudo systemctl enable --now cpd</span> Bel daarna de gemeente.</p></div>\n", sheet->certificate->node);
	return is_drawn;
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
	fprintf(out, "<!DOCTYPE html>\n<html lang=\"nl\"><head><meta charset=\"utf-8\"><title>Noodsteunpunt %u</title><style>%s</style></head><body>\n",
	    sheet->certificate->node, style);
	is_written = write_code(out, &sheet->codes[KIT_SLOT_VOLUNTEER], sheet, "<h1>");
	write_steps(out, sheet);
	is_written = write_emergency(out, sheet) && is_written;
	fputs("</body></html>\n", out);
	snprintf(name, sizeof(name), "sheets/%u.html", sheet->certificate->node);
	is_written = !fclose(out) && is_written && file_path(dir, name, path) && file_write(path, text, len);
	if (text)
		crypto_wipe(text, len);
	free(text);
	return is_written;
}
