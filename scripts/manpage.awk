# Tidies what scdoc makes until `mandoc -T lint` has nothing to say: paragraph
# macros that stand beside a heading or an end of indentation, lines above 78
# bytes, the title in capitals.
function emit(line,   at) {
    while (length(line) > 78 && line !~ /^\./) {
        at = 78
        while (at > 20 && substr(line, at, 1) != " ") at--
        if (substr(line, at, 1) != " ") break
        print substr(line, 1, at - 1)
        line = substr(line, at + 1)
        if (line ~ /^[.']/) line = "\\&" line
    }
    print line
}
/^\.TH / { $2 = toupper($2) }
{ sub(/\\&$/, "") }
/^\.PP?$/ { pending = 1; next }
{
    if (pending && $0 !~ /^\.(RE|SH|SS)/ && last !~ /^\.(SH|SS|RS|TH)/) print ".P"
    else if (last == ".RE" && $0 !~ /^\./) print ".P"
    pending = 0
    emit($0)
    last = $0
}
