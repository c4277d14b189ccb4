package access

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
)

// Schema is what policies may speak of, in Cedar's schema language. It is made
// from the declarations of the RPCs: a new verb or kind is in it at once.
func Schema() string {
	var b strings.Builder
	verbs := Verbs()
	kinds := map[string]bool{"Workload": true, KindOperator: true, KindProject: true}
	for _, of := range verbs {
		for _, kind := range of {
			kinds[kind] = true
		}
	}
	fmt.Fprintf(&b, "entity Role enum [%s];\n", `"`+strings.Join(Roles, `", "`)+`"`)
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		parents := ""
		if kind == KindOperator {
			parents = " in [Role]"
		}
		fmt.Fprintf(&b, "entity %s%s { kind: String, name: String, project: String } tags String;\n", kind, parents)
	}
	for _, verb := range slices.Sorted(maps.Keys(verbs)) {
		of := slices.Sorted(slices.Values(verbs[verb]))
		fmt.Fprintf(&b, "action %q appliesTo { principal: [Operator, Workload], resource: [%s], context: {} };\n", verb, strings.Join(of, ", "))
	}
	return b.String()
}

var validator = sync.OnceValues(func() (*validate.Validator, error) {
	var s schema.Schema
	if err := s.UnmarshalCedar([]byte(Schema())); err != nil {
		return nil, fmt.Errorf("the schema of policies does not parse: %w", err)
	}
	resolved, err := s.Resolve()
	if err != nil {
		return nil, fmt.Errorf("the schema of policies is not sound: %w", err)
	}
	return validate.New(resolved), nil
})
