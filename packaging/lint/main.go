// Command lint checks what makes Skerry's structure: the direction of imports,
// the seams, the size of files; and that the tests exist by which docs/security.md
// shows what it promises. It prints FILE:LINE: rule for each violation
// and ends with 1 when there is one.
package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

func main() {
	violations, err := check(".")
	if err == nil {
		var unshown []string
		unshown, err = checkPromises(".")
		violations = append(violations, unshown...)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lint:", err)
		os.Exit(2)
	}
	for _, v := range violations {
		fmt.Println(v)
	}
	if len(violations) > 0 {
		os.Exit(1)
	}
}

// check all Go files below root that are not generated.
func check(root string) ([]string, error) {
	var violations []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && path != root && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata") {
			return filepath.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		found, err := checkFile(filepath.ToSlash(relative), source)
		violations = append(violations, found...)
		return err
	})
	return violations, err
}

// checkFile returns the violations in one file.
func checkFile(path string, source []byte) ([]string, error) {
	fileSet := token.NewFileSet()
	file, err := parser.ParseFile(fileSet, path, source, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	if ast.IsGenerated(file) {
		return nil, nil
	}
	var violations []string
	report := func(at token.Pos, format string, args ...any) {
		violations = append(violations, fmt.Sprintf("%s: %s", fileSet.Position(at), fmt.Sprintf(format, args...)))
	}
	if lines := bytes.Count(source, []byte("\n")); lines > maxLines {
		report(file.Pos(), "the file has %d lines, at most %d are read with pleasure", lines, maxLines)
	}
	folder := filepath.ToSlash(filepath.Dir(path))
	if slices.Contains(vagueNames, file.Name.Name) {
		report(file.Name.Pos(), "a package named %s says nothing about what is in it", file.Name.Name)
	}
	checkImports(folder, file, report)
	checkNotes(file, report)
	if !strings.HasSuffix(path, "_test.go") {
		checkSeams(path, file, report)
	}
	return violations, nil
}

type reporter func(at token.Pos, format string, args ...any)

func checkImports(folder string, file *ast.File, report reporter) {
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has complained already
		}
		imported, ours := strings.CutPrefix(imported, module+"/")
		if !ours {
			continue
		}
		if reason := forbidden(folder, imported); reason != "" {
			report(spec.Pos(), "%s must not import %s: %s", folder, imported, reason)
		}
	}
}

// checkNotes finds notes to do something later.
func checkNotes(file *ast.File, report reporter) {
	for _, group := range file.Comments {
		for _, comment := range group.List {
			for _, note := range notes {
				if strings.Contains(comment.Text, note) {
					report(comment.Pos(), "open an issue instead of writing %s", note)
				}
			}
		}
	}
}

// checkSeams finds effects outside the shells.
func checkSeams(path string, file *ast.File, report reporter) {
	if isShell(path) {
		return
	}
	names := map[string]string{} // local name of an import: its path
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has complained already
		}
		name := imported[strings.LastIndex(imported, "/")+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = imported
	}
	ast.Inspect(file, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		base, ok := selector.X.(*ast.Ident)
		if !ok || base.Obj != nil {
			return true
		}
		if seam := effects[names[base.Name]+"."+selector.Sel.Name]; seam != "" {
			report(selector.Pos(), "%s.%s: use %s, or put the file on the list of shells with a reason", base.Name, selector.Sel.Name, seam)
		}
		return true
	})
}
