package access

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Rule is what an RPC declares: what it does, to what, and who may ask for it.
type Rule struct {
	*skerryv1.AccessRule
	// Procedure as in a URL: /skerry.v1.ResourceService/Get.
	Procedure string
	// Declared is false for an RPC that says nothing: nobody may call it.
	Declared bool
}

// Admits tells whether this kind of caller may ask for it at all.
func (r Rule) Admits(caller skerryv1.Caller) bool {
	return slices.Contains(r.GetCallers(), caller)
}

// Rules of all RPCs of all services, in the order of their files.
func Rules() []Rule {
	var rules []Rule
	for _, file := range files() {
		services := file.Services()
		for i := range services.Len() {
			methods := services.Get(i).Methods()
			for j := range methods.Len() {
				rules = append(rules, ruleOf(methods.Get(j)))
			}
		}
	}
	return rules
}

// files that define services: first those of operators, then those of nodes.
func files() []protoreflect.FileDescriptor {
	var found []protoreflect.FileDescriptor
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if file.Services().Len() > 0 && strings.HasPrefix(string(file.Package()), "skerry.") {
			found = append(found, file)
		}
		return true
	})
	slices.SortFunc(found, func(a, b protoreflect.FileDescriptor) int { return -strings.Compare(a.Path(), b.Path()) })
	return found
}

func ruleOf(method protoreflect.MethodDescriptor) Rule {
	procedure := fmt.Sprintf("/%s/%s", method.Parent().FullName(), method.Name())
	options, _ := method.Options().(*descriptorpb.MethodOptions)
	if options == nil || !proto.HasExtension(options, skerryv1.E_Access) {
		return Rule{Procedure: procedure, AccessRule: &skerryv1.AccessRule{}}
	}
	declared, _ := proto.GetExtension(options, skerryv1.E_Access).(*skerryv1.AccessRule)
	return Rule{Procedure: procedure, AccessRule: declared, Declared: true}
}

var byProcedure = sync.OnceValue(func() map[string]Rule {
	all := map[string]Rule{}
	for _, rule := range Rules() {
		all[rule.Procedure] = rule
	}
	return all
})

// RuleOf a procedure. One that is not known is not declared either.
func RuleOf(procedure string) Rule {
	rule, known := byProcedure()[procedure]
	if !known {
		return Rule{Procedure: procedure, AccessRule: &skerryv1.AccessRule{}}
	}
	return rule
}

// Callers that a rule may admit, in the order in which they are listed.
var Callers = []skerryv1.Caller{
	skerryv1.Caller_CALLER_OPERATOR, skerryv1.Caller_CALLER_WORKLOAD, skerryv1.Caller_CALLER_NODE,
	skerryv1.Caller_CALLER_VOTER, skerryv1.Caller_CALLER_ANYBODY, skerryv1.Caller_CALLER_ROOT,
}

// The files are registered by the packages that were generated from them.
var _ = sitev1.File_skerry_site_v1_sync_proto
