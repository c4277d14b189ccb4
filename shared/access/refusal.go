package access

import (
	"fmt"
	"strings"

	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// Refusal of a verdict: who may not do what, and why.
func Refusal(who Principal, verb string, object Object, verdict Verdict) error {
	message := fmt.Sprintf("%s may not %s %s", who, doing(verb), object)
	var because []string
	for _, reason := range verdict.By {
		because = append(because, reason.String()+" forbids it")
	}
	if len(because) == 0 {
		because = []string{"no role and no policy permits it"}
	}
	return problem.New(problem.Forbidden, object.Subject(), "%s: %s", message, strings.Join(because, ", ")).
		WithHint("%s says what is missing; an administrator can grant it", explainCommand(verb, object))
}

// doing is a verb as it stands before what it is done to.
func doing(verb string) string {
	if verb == "logs" {
		return "read the logs of"
	}
	return verb
}

// String is where the policy is: `policy shop (line 3)`.
func (r Reason) String() string {
	text := r.Source
	if r.Line > 0 {
		text += fmt.Sprintf(" (line %d)", r.Line)
	}
	if r.Error != "" {
		text += " (" + r.Error + ")"
	}
	return text
}

// Subject names the object in errors: Workload/web, Site.
func (o Object) Subject() string {
	if o.Name == "" {
		return o.Kind
	}
	return o.Kind + "/" + o.Name
}

func explainCommand(verb string, object Object) string {
	command := "skerry access explain " + verb + " " + object.Subject()
	if manifest.InProject(object.Kind) && object.Project != "" && object.Project != "default" {
		command += " -p " + object.Project
	}
	return command
}
