package spool

import (
	"strconv"
	"strings"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Asked is what was asked for: a command, or a console.
func Asked(start *skerryv1.ExecStart) string {
	if start.GetConsole() {
		return "(serial console)"
	}
	return CommandText(start.GetCommand())
}

// maxCommand is how much of a command the audit log holds, in bytes.
const maxCommand = 256

// CommandText is the beginning of a command as a person would write it.
func CommandText(command []string) string {
	var text strings.Builder
	for n, word := range command {
		if n > 0 {
			text.WriteByte(' ')
		}
		word = word[:min(len(word), maxCommand)]
		if word == "" || strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r == '"' || r == '\'' || !strconv.IsPrint(r) }) {
			word = strconv.Quote(word)
		}
		text.WriteString(word)
		if text.Len() > maxCommand {
			return strings.ToValidUTF8(text.String()[:maxCommand], "") + "…"
		}
	}
	return strings.ToValidUTF8(text.String(), "�")
}
