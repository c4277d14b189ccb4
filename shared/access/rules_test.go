package access

import (
	"flag"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

var update = flag.Bool("update", false, "write the table into docs/access.md")

const document = "../../docs/access.md"

func TestEveryRPCDeclaresWhoMayCallIt(t *testing.T) {
	rules := Rules()
	if len(rules) < 17 {
		t.Fatalf("%d RPCs were found", len(rules))
	}
	for _, rule := range rules {
		for _, wrong := range faultsOf(rule) {
			t.Errorf("%s: %s", rule.Procedure, wrong)
		}
	}
}

// faultsOf a declaration; see access.proto.
func faultsOf(rule Rule) []string {
	if !rule.Declared {
		return []string{"it does not declare who may call it: give it the option (skerry.v1.access)"}
	}
	var faults []string
	if rule.GetVerb() == "" || len(rule.GetCallers()) == 0 {
		faults = append(faults, "it names no verb or no caller")
	}
	if (rule.GetKind() == "") == (rule.GetKindField() == "") && !rule.GetEach() {
		faults = append(faults, "it needs a kind, or the field of the request that names it")
	}
	request := descriptorOf(rule.Procedure).Input()
	for _, path := range []string{rule.GetKindField(), rule.GetNameField(), rule.GetProjectField()} {
		if path != "" && !leadsToText(request, path) {
			faults = append(faults, "its request has no text field "+path)
		}
	}
	for _, caller := range rule.GetCallers() {
		if caller == skerryv1.Caller_CALLER_UNSPECIFIED {
			faults = append(faults, "it admits a caller that is none")
		}
	}
	return faults
}

func descriptorOf(procedure string) protoreflect.MethodDescriptor {
	for _, file := range files() {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			name, found := strings.CutPrefix(procedure, "/"+string(service.FullName())+"/")
			if found {
				return service.Methods().ByName(protoreflect.Name(name))
			}
		}
	}
	return nil
}

func leadsToText(message protoreflect.MessageDescriptor, path string) bool {
	steps := strings.Split(path, ".")
	for i, step := range steps {
		field := message.Fields().ByName(protoreflect.Name(step))
		if field == nil || field.IsList() || field.IsMap() {
			return false
		}
		if i == len(steps)-1 {
			return field.Kind() == protoreflect.StringKind
		}
		if message = field.Message(); message == nil {
			return false
		}
	}
	return false
}

func TestUnknownProceduresAdmitNobody(t *testing.T) {
	for _, procedure := range []string{"", "/skerry.v1.ResourceService/Wish", "/skerry.v1.WishService/Get"} {
		for _, caller := range Callers {
			if RuleOf(procedure).Admits(caller) {
				t.Errorf("%q admits %s", procedure, caller)
			}
		}
	}
}

func TestTheTableInTheDocumentsIsThatOfTheDeclarations(t *testing.T) {
	const begin, end = "<!-- begin: every call -->\n", "<!-- end: every call -->"
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(text), begin)
	_, tail, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no place for the table", document)
	}
	want := head + begin + table() + end + tail
	if *update {
		if err := os.WriteFile(document, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != string(text) {
		t.Errorf("%s is not up to date: go test ./shared/access -update", document)
	}
}

// table of all RPCs and all kinds of principal, as a document shows it.
func table() string {
	var b strings.Builder
	b.WriteString("\n| call | does | to | operator | workload | node | voter for somebody | anybody | root on the machine |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, rule := range Rules() {
		b.WriteString("| `" + strings.TrimPrefix(rule.Procedure, "/") + "` | " + rule.GetVerb() + " | " + objectOf(rule))
		for _, caller := range Callers {
			b.WriteString(" | " + answer(rule, caller))
		}
		b.WriteString(" |\n")
	}
	return b.String() + "\n"
}

func objectOf(rule Rule) string {
	switch {
	case rule.GetKind() == "" && rule.GetEach():
		return "each resource"
	case rule.GetKind() == "":
		return "the resource named"
	default:
		return rule.GetKind()
	}
}

func answer(rule Rule, caller skerryv1.Caller) string {
	if !rule.Admits(caller) {
		return "no"
	}
	switch {
	case rule.GetOwn():
		return "for itself"
	case caller == skerryv1.Caller_CALLER_OPERATOR || caller == skerryv1.Caller_CALLER_WORKLOAD:
		return "by policy"
	case caller == skerryv1.Caller_CALLER_NODE && rule.GetNameField() != "":
		return "for itself"
	default:
		return "yes"
	}
}
