#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# md-to-man.sh FILE.md NAME SECTION "one line" - a manual page out of one of docs/*.md, on standard output. It knows what those use: headings, paragraphs,
# lists, tables, indented code, `code`, **bold**, *emphasis* and [links](…).
set -eu
file=$1 name=$2 section=$3 what=$4
awk -v name="$name" -v section="$section" -v what="$what" '
function inline(s,   out, i, c, code) {
    gsub(/\\/, "\\e", s)
    gsub(/\[[^]]*\]\([^)]*\)/, "&", s)
    while (match(s, /\[[^]]*\]\([^)]*\)/)) {
        link = substr(s, RSTART + 1, RLENGTH - 1); sub(/\].*/, "", link)
        s = substr(s, 1, RSTART - 1) link substr(s, RSTART + RLENGTH)
    }
    out = ""; code = 0
    for (i = 1; i <= length(s); i++) {
        c = substr(s, i, 1)
        if (c == "`") { code = !code; out = out (code ? "\\fB" : "\\fR") }
        else if (!code && substr(s, i, 2) == "**") { bold = !bold; out = out (bold ? "\\fB" : "\\fR"); i++ }
        else if (!code && c == "*" && (italic || substr(s, i + 1, 1) ~ /[A-Za-z]/)) { italic = !italic; out = out (italic ? "\\fI" : "\\fR") }
        else if (c == "-") out = out "\\-"
        else out = out c
    }
    sub(/^[.\x27]/, "\\\\\\&&", out)
    return out
}
function flush_text() { if (text != "") { print inline(text); text = "" } }
function end_code() { if (in_code) { print ".fi\n.RE"; in_code = 0 } }
function cells(s,   n, i) { sub(/^\| */, "", s); sub(/ *\|$/, "", s); gsub(/\\\|/, "\001", s); n = split(s, cell, / *\| */); for (i = 1; i <= n; i++) gsub("\001", "|", cell[i]); return n }
BEGIN {
    printf ".\\\" Made by scripts/md-to-man.sh.\n.TH %s %s 2026-11-26 sealmq\n.SH NAME\n%s \\- %s\n.SH DESCRIPTION\n", toupper(name), section, name, what
    after_heading = 1
}
/^# / { next }
/^    / { after_heading = 0; flush_text(); if (!in_code) { print ".RS 4\n.nf"; in_code = 1 } s = substr($0, 5); gsub(/\\/, "\\e", s); gsub(/-/, "\\-", s); sub(/^[.\x27]/, "\\\\\\&&", s); print s; next }
/^$/ { flush_text(); if (in_code) { held = held "\n"; end_code() } else if (!in_table && !after_heading) print_par = 1; in_table = 0; next }
/^##+ / { flush_text(); end_code(); level = index($0, " ") - 1; s = substr($0, level + 2); print (level == 2 ? ".SH " : ".SS ") "\"" inline(s) "\""; print_par = 0; after_heading = 1; next }
{ after_heading = 0 }
/^\|[-|: ]*\|$/ { in_table = 2; next }
/^\|/ {
    flush_text(); end_code(); n = cells($0)
    if (in_table != 2) { in_table = 1; next }
    print ".TP\n" inline(cell[1])
    line = ""
    for (i = 2; i < n; i++) if (cell[i] != "") line = line (line == "" ? "" : ", ") cell[i]
    print inline(line == "" ? cell[n] : n > 2 ? "(" line ") " cell[n] : cell[n])
    next
}
/^(- |[0-9]+\. )/ { flush_text(); end_code(); mark = $1; sub(/^(- |[0-9]+\. )/, ""); print ".IP \"" (mark == "-" ? "\\(bu" : mark) "\" 4"; text = $0; print_par = 0; next }
{ end_code(); if (print_par && text == "") { print ".PP"; print_par = 0 } s = $0; sub(/^ +/, "", s); text = text (text == "" ? "" : " ") s }
END { flush_text(); end_code() }' "$file"
