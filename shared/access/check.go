package access

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	cedar "github.com/cedar-policy/cedar-go"
	cedarast "github.com/cedar-policy/cedar-go/x/exp/ast"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

const (
	// maxStatements of one access policy.
	maxStatements = 32
	// maxNesting of brackets, and of signs and negations in a row.
	maxNesting = 32
)

// CheckPolicy refuses an access policy that says what cannot be: text that is
// not Cedar, verbs, kinds and attributes that there are not. Errors name the
// line within the policy.
func CheckPolicy(given *skerryv1.AccessPolicy) error {
	about := "AccessPolicy/" + given.GetName()
	refuse := func(hint, format string, args ...any) error {
		return problem.New(problem.Invalid, about, format, args...).WithField("policy").WithHint("%s", hint)
	}
	const examples = "docs/access.md shows examples"
	text := given.GetPolicy()
	if len(text) > manifest.MaxPolicyBytes {
		return refuse("split it into several", "it is longer than %d KiB", manifest.MaxPolicyBytes>>10)
	}
	if line := tooDeep(text); line > 0 {
		return refuse("write it flatter, or split it", "line %d is nested deeper than %d", line, maxNesting)
	}
	parsed, err := readPolicy(given)
	if err != nil {
		line, message := positionOf(err)
		return refuse(examples, "line %d is not Cedar: %s", line, message)
	}
	if len(parsed) == 0 {
		return refuse(examples, "it holds no policy")
	}
	if len(parsed) > maxStatements {
		return refuse("split it into several", "it holds %d policies, at most %d are taken", len(parsed), maxStatements)
	}
	for _, found := range roleNamed.FindAllStringSubmatchIndex(text, -1) {
		if role := text[found[2]:found[3]]; !slices.Contains(Roles, role) {
			return refuse("the roles are "+strings.Join(Roles, ", "), "line %d: there is no role %q", 1+strings.Count(text[:found[2]], "\n"), role)
		}
	}
	if found := inProject.FindStringIndex(text); found != nil {
		return refuse(`write when { resource.project == "shop" }`, "line %d: nothing is `in` a project", 1+strings.Count(text[:found[0]], "\n"))
	}
	check, err := validator()
	if err != nil {
		return problem.New(problem.Internal, about, "%w", err)
	}
	for _, p := range parsed {
		if err := check.Policy("", (*cedarast.Policy)(p.AST())); err != nil {
			message := firstFault(err)
			return refuse(schemaHint(message), "line %d: %s", lineOf(text, p.Policy, message), message)
		}
	}
	return nil
}

// tooDeep finds the line in which brackets, signs or negations are nested too
// deep; 0 when none are. It looks at the text alone, so that nothing has to
// parse it first.
func tooDeep(text string) int {
	depth, run, line, inText := 0, 0, 1, false
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\n':
			line++
			continue
		case inText && c == '\\':
			i++
			continue
		case c == '"':
			inText = !inText
		case inText:
			continue
		case c == '/' && strings.HasPrefix(text[i:], "//"):
			for i+1 < len(text) && text[i+1] != '\n' {
				i++
			}
			continue
		case strings.IndexByte("([{", c) >= 0:
			depth++
		case strings.IndexByte(")]}", c) >= 0:
			depth--
		case strings.HasPrefix(text[i:], "if"):
			run++ // conditions nest without brackets
		}
		switch {
		case c == '!' || c == '-':
			run++
		case c == ';':
			run, depth = 0, 0
		}
		if depth > maxNesting || run > 4*maxNesting {
			return line
		}
	}
	return 0
}

// roleNamed finds roles, which Cedar's own check does not look at.
var roleNamed = regexp.MustCompile(`\bRole\s*::\s*"([^"]*)"`)

// inProject is how other users of Cedar write it. Here it would mean the project
// itself, its quota, and nothing that is in it.
var inProject = regexp.MustCompile(`\bin\s*\[?\s*Project\s*::`)

var positionPattern = regexp.MustCompile(`(?s)parse error at \S*?:(\d+):\d+ ("(?:[^"\\]|\\.)*"): (?:exact )?(.*)$`)

// positionOf a parser's error.
func positionOf(err error) (line int, message string) {
	found := positionPattern.FindStringSubmatch(err.Error())
	if found == nil {
		return 1, err.Error()
	}
	line, convErr := strconv.Atoi(found[1])
	if convErr != nil {
		return 1, err.Error()
	}
	text := strings.Join(strings.Fields(found[3]), " ")
	if _, wanted, ends := strings.Cut(text, "got want "); ends {
		return line, "it ends where " + wanted + " was expected"
	}
	return line, "at " + found[2] + ": " + text
}

// firstFault of a validator's error, in one line.
func firstFault(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	line = strings.TrimPrefix(line, "for policy ``, ")
	return line
}

var quoted = regexp.MustCompile("`([^`]+)`")

// lineOf what a fault names, within the statement: the statement's own line
// when it is not found.
func lineOf(text string, p *cedar.Policy, message string) int {
	start := p.Position()
	found := quoted.FindStringSubmatch(message)
	if found == nil || start.Offset >= len(text) {
		return start.Line
	}
	end := strings.IndexByte(text[start.Offset:], ';')
	if end < 0 {
		end = len(text) - start.Offset
	}
	at := strings.Index(text[start.Offset:start.Offset+end], found[1])
	if at < 0 {
		return start.Line
	}
	return start.Line + strings.Count(text[start.Offset:start.Offset+at], "\n")
}

// schemaHint says what there is, after a fault about what there is not.
func schemaHint(message string) string {
	switch {
	case strings.Contains(message, "action"):
		return "the verbs are " + VerbWords()
	case strings.Contains(message, "attribute"):
		return "resources and principals have kind, name and project; labels are tags: resource.hasTag(\"tier\") && resource.getTag(\"tier\") == \"web\""
	case strings.Contains(message, "tag"):
		return "ask first whether the label is there: resource.hasTag(\"tier\") && resource.getTag(\"tier\") == \"web\""
	case strings.Contains(message, "entity type"):
		return fmt.Sprintf("the kinds are %s; principals are Operator and Workload", strings.Join(schemaKinds(), ", "))
	default:
		return "docs/access.md shows examples"
	}
}

func schemaKinds() []string {
	kinds := map[string]bool{}
	for _, of := range Verbs() {
		for _, kind := range of {
			kinds[kind] = true
		}
	}
	return sortedKeys(kinds)
}
