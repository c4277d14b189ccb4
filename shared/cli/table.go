package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// table is aligned columns, two spaces apart, under a line of headings.
type table struct {
	rows [][]string
}

func newTable(headings ...string) *table { return &table{rows: [][]string{headings}} }

func (t *table) row(cells ...string) {
	clean := make([]string, len(cells))
	for i, cell := range cells {
		clean[i] = orDash(oneLine(cell))
	}
	t.rows = append(t.rows, clean)
}

// write prints the table, each line behind indent. A table without rows prints
// nothing.
func (t *table) write(w io.Writer, indent string) error {
	if len(t.rows) == 1 {
		return nil
	}
	widths := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		if _, err := fmt.Fprintln(w, indent+strings.TrimRight(line.String(), " ")); err != nil {
			return err
		}
	}
	return nil
}
