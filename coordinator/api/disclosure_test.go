package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"skerry.dev/certs"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const whatIf = "ForesightService/WhatIf"

// Whoever asks again with the same request ID reads again.
func TestEachRevealIsInTheAuditLog(t *testing.T) {
	s := secretsSite(t)
	s.must(apply, resourcesOf(secretJSON("db", `"stringData":{"password":"`+clear+`"}`)))
	frontier := s.store.Frontier()
	for range 3 {
		s.must(reveal, `{"requestId":"once","name":"db","key":"password"}`)
	}
	if now := s.store.Frontier(); now.Size() != frontier.Size()+3 {
		t.Errorf("three reveals are %d leaves", now.Size()-frontier.Size())
	}
}

// Whoever may only ask what would be must not find out a secret by guessing it.
func TestWhatIfDoesNotTellWhetherASecretWasGuessed(t *testing.T) {
	s := secretsSite(t)
	s.must(apply, resourcesOf(secretJSON("db", `"stringData":{"password":"`+clear+`"}`)))
	vic := s.joins("vic", &skerryv1.Grant{Role: "viewer"})
	ask := func(value string) string {
		got := s.call(&vic, whatIf, `{"apply":[`+secretJSON("db", `"stringData":{"password":"`+value+`"}`)+`]}`)
		if got.code() != "" {
			t.Fatal(got.body)
		}
		return fmt.Sprint(got.body["applied"])
	}
	right, wrong := ask(clear), ask(strings.ToUpper(clear))
	if right != wrong || !strings.Contains(right, "configured") {
		t.Errorf("the right guess gave %s, a wrong one %s", right, wrong)
	}
	if version := s.store.View().Secret("default", "db").GetSealed().GetVersion(); version != 1 {
		t.Errorf("asking made version %d", version)
	}
}

func TestWhatIsInAnotherProjectIsNotToldAlongside(t *testing.T) {
	s := newAPISite(t)
	s.twoProjects()
	s.put(&skerryv1.Workload{Name: "till", Container: &skerryv1.Container{Image: "site.local/web:1"}, Labels: map[string]string{"vault": "seven"}})
	vic := s.joins("vic", &skerryv1.Grant{Role: "viewer", Project: "shop"})
	got := s.call(&vic, explain, `{"kind":"Workload","name":"till","project":"shop"}`)
	events, _ := got.body["events"].([]any)
	for _, event := range events {
		if about, _ := event.(map[string]any); about["project"] != "shop" {
			t.Errorf("an event of another project is shown: %v", about)
		}
	}
	if len(events) == 0 {
		t.Errorf("no event is shown: %v", got.body)
	}
	answer, err := json.Marshal(s.call(&vic, checkAccess, `{"verb":"read","kind":"Workload","name":"till"}`).body)
	if err != nil || !strings.Contains(string(answer), "may not read") || strings.Contains(string(answer), "seven") {
		t.Errorf("its labels are told: %s, %v", answer, err)
	}
}

// Only voters say for whom, and from where, they call.
func TestNobodyElseSaysWhereACallComesFrom(t *testing.T) {
	s := newAPISite(t)
	s.voter("n2")
	node := peer(certs.RoleNode, "n3")
	if got := s.call(&node, get, `{"kind":"Node","name":"n1"}`, fromHeader, "203.0.113.9"); got.code() != "permission_denied" {
		t.Fatal(got.body)
	}
	for _, refused := range s.refusals.Take() {
		if from := refused.GetRefusals()[0].GetFrom(); from != "127.0.0.1" {
			t.Errorf("the refusal of %s comes from %s", refused.GetPrincipal(), from)
		}
	}
}
