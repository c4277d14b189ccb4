package cli

import (
	"fmt"
	"io"
	"strings"
)

// fields are aligned lines of a name and a value. Those without a value are
// left out.
type fields struct{ names, values []string }

func (f *fields) add(name, value string) {
	if value != "" {
		f.names, f.values = append(f.names, name+":"), append(f.values, oneLine(value))
	}
}

func (f *fields) write(w io.Writer) error {
	width := 0
	for _, name := range f.names {
		width = max(width, len(name))
	}
	for i, name := range f.names {
		if _, err := fmt.Fprintf(w, "%-*s  %s\n", width, name, f.values[i]); err != nil {
			return err
		}
	}
	return nil
}

// section prints a table under a title, or nothing when the table is empty.
func section(w io.Writer, title string, t *table) error {
	if len(t.rows) == 1 {
		return nil
	}
	if _, err := fmt.Fprintf(w, "\n%s:\n", title); err != nil {
		return err
	}
	return t.write(w, "  ")
}

// sentence joins the parts that are not empty.
func sentence(separator string, parts ...string) string {
	var there []string
	for _, part := range parts {
		if part != "" {
			there = append(there, part)
		}
	}
	return strings.Join(there, separator)
}
