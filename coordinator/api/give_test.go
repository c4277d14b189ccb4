package api

import (
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// A policy may let somebody grant; it must not thereby make him admin.
func TestNobodyGivesARoleThatHeDoesNotHave(t *testing.T) {
	s := newAPISite(t)
	s.put(&skerryv1.Project{Name: "shop"}, &skerryv1.AccessPolicy{Name: "kim-grants",
		Policy: `permit (principal == Operator::"kim", action in [Action::"grant", Action::"create"], resource);`})
	kim := s.joins("kim", &skerryv1.Grant{Role: "operator"}, &skerryv1.Grant{Role: "admin", Project: "shop"})
	s.joins("bob")
	for _, test := range []struct{ name, method, body, code string }{
		{"its own role", changeGrants, `{"operator":"bob","add":[{"role":"operator"}]}`, ""},
		{"its own role in one project", changeGrants, `{"operator":"bob","add":[{"role":"operator","project":"shop"}]}`, ""},
		{"any role where it is admin", changeGrants, `{"operator":"bob","add":[{"role":"viewer","project":"shop"}]}`, ""},
		{"admin", changeGrants, `{"operator":"bob","add":[{"role":"admin"}]}`, "permission_denied"},
		{"admin to itself", changeGrants, `{"operator":"kim","add":[{"role":"admin"}]}`, "permission_denied"},
		{"another role elsewhere", changeGrants, `{"operator":"bob","add":[{"role":"viewer"}]}`, "permission_denied"},
		{"one of two that it has", changeGrants, `{"operator":"bob","add":[{"role":"operator"},{"role":"auditor"}]}`, "permission_denied"},
		{"admin by a token", createToken, `{"role":"operator","name":"eve","grants":[{"role":"admin"}]}`, "permission_denied"},
		{"its own role by a token", createToken, `{"role":"operator","name":"eve","grants":[{"role":"operator"}]}`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := s.call(&kim, test.method, test.body); got.code() != test.code {
				t.Errorf("it gave %d %v", got.status, got.body)
			}
		})
	}
}
