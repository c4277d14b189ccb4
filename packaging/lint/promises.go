package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// promises is the table that says which test shows what is promised.
const promises = "docs/security.md"

// shown finds folders, planted bugs and commands, all in quotes, and names of
// tests, in the order in which a row has them.
var shown = regexp.MustCompile("`([^`]+)`|\\b((?:Test|Fuzz)[A-Z][A-Za-z0-9]+)\\b|\\b(docs/[a-z]+\\.md)\\b")

// checkPromises finds promises that nothing shows any more: a test was renamed, or
// never was.
func checkPromises(root string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(root, promises))
	if err != nil {
		return nil, err
	}
	_, table, found := bytes.Cut(text, []byte("| promise | shown by |\n"))
	if !found {
		return []string{promises + ": the table of promises is gone"}, nil
	}
	first := bytes.Count(text[:len(text)-len(table)], []byte("\n")) + 1
	var violations []string
	for i, line := range strings.Split(string(table), "\n") {
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := strings.Split(strings.Trim(line, "| "), "|")
		if strings.HasPrefix(cells[0], "---") {
			continue
		}
		for _, problem := range checkPromise(root, cells[len(cells)-1]) {
			violations = append(violations, fmt.Sprintf("%s:%d: %s", promises, first+i, problem))
		}
	}
	return violations, nil
}

// checkPromise returns what is wrong with what a row says.
func checkPromise(root, cell string) (problems []string) {
	folder := ""
	matches := shown.FindAllStringSubmatch(cell, -1)
	if len(matches) == 0 {
		return []string{"nothing shows this promise"}
	}
	for _, m := range matches {
		quoted, test, page := m[1], m[2], m[3]
		switch {
		case page != "":
			if _, err := os.Stat(filepath.Join(root, page)); err != nil {
				problems = append(problems, page+" does not exist")
			}
		case test != "" && folder == "":
			problems = append(problems, test+" comes before the folder that it is in")
		case test != "" && !holds(root, folder, "*_test.go", "func "+test+"("):
			problems = append(problems, fmt.Sprintf("there is no %s in %s", test, folder))
		case test != "":
		case strings.HasPrefix(quoted, "make "):
			target, _, _ := strings.Cut(strings.TrimPrefix(quoted, "make "), " ")
			if !holds(root, ".", "Makefile", "\n"+target+":") {
				problems = append(problems, "there is no "+quoted)
			}
		case strings.Contains(cell, "planted bug `"+quoted+"`"):
			if !holds(root, folder, "*.go", `"`+quoted+`"`) {
				problems = append(problems, fmt.Sprintf("there is no planted bug %s in %s", quoted, folder))
			}
		case !holds(root, quoted, "*_test.go", "func "):
			problems = append(problems, "there is no folder with tests "+quoted)
		default:
			folder = quoted
		}
	}
	return problems
}

// holds tells whether a file of this pattern in a folder has the text.
func holds(root, folder, pattern, text string) bool {
	files, err := filepath.Glob(filepath.Join(root, folder, pattern))
	if err != nil {
		return false
	}
	for _, file := range files {
		if content, err := os.ReadFile(file); err == nil && strings.Contains(string(content), text) {
			return true
		}
	}
	return false
}
