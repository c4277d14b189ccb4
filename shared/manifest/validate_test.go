package manifest

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

func TestValidateNamesTheFirstFieldAndTellsTheOthers(t *testing.T) {
	w := fullWorkload()
	w.Name = "Web"
	w.Replicas = proto.Uint32(10_001)
	w.StopGrace = "soon"
	err := Validate(&skerryv1.Resource{Kind: &skerryv1.Resource_Workload{Workload: w}})
	var p *problem.Error
	if !errors.As(err, &p) {
		t.Fatalf("got %T: %v", err, err)
	}
	if p.Kind != problem.Invalid || p.Subject != "Workload/Web" || p.Field != "name" {
		t.Errorf("got kind %q, subject %q, field %q", p.Kind, p.Subject, p.Field)
	}
	for _, other := range []string{"; also replicas: 10001 is not between 0 and 10000", "; stopGrace: "} {
		if !strings.Contains(p.Message, other) {
			t.Errorf("the message lacks %q: %s", other, p.Message)
		}
	}
}

func TestValidateIsBounded(t *testing.T) {
	w := fullWorkload()
	for range 1000 {
		w.Container.AddCapabilities = append(w.Container.AddCapabilities, "no")
	}
	err := Validate(&skerryv1.Resource{Kind: &skerryv1.Resource_Workload{Workload: w}})
	if err == nil || len(err.Error()) > 2000 || !strings.Contains(err.Error(), "and 991 more") {
		t.Errorf("got %v", err)
	}
}

func TestOnlyWorkloadsCanBeApplied(t *testing.T) {
	for _, resource := range []*skerryv1.Resource{nil, {}, {Kind: &skerryv1.Resource_Node{Node: &skerryv1.Node{Name: "a"}}}} {
		if err := Validate(resource); problem.KindOf(err) != problem.Invalid {
			t.Errorf("Validate(%v) = %v", resource, err)
		}
	}
}

func TestNames(t *testing.T) {
	for name, good := range map[string]bool{
		"a": true, "web-1": true, strings.Repeat("a", 48): true,
		"": false, "-a": false, "a-": false, "1a": false, "A": false, "a.b": false, "a_b": false,
		"ä": false, "a\n": false, strings.Repeat("a", 49): false,
	} {
		if err := CheckName(name); (err == nil) != good {
			t.Errorf("CheckName(%q) = %v", name, err)
		}
	}
}
