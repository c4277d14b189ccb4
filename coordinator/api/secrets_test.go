package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/envelope"
)

const (
	listAll        = "ResourceService/List"
	remove         = "ResourceService/Delete"
	reveal         = "SecretService/Reveal"
	secretKeys     = "SecretService/SecretKeys"
	rotateKey      = "SecretService/RotateKey"
	addRecovery    = "SecretService/AddRecoveryKey"
	removeRecovery = "SecretService/RemoveRecoveryKey"
	recoverSecrets = "SecretService/RecoverSecrets"
)

const clear = "correct horse battery staple"

// secretsSite is a site whose only voter has a sealing key.
func secretsSite(t *testing.T) *apiSite {
	s := newAPISite(t)
	s.report("n1", s.recipient.Public())
	s.keep()
	return s
}

// report gives a node a sealing key.
func (s *apiSite) report(node string, key []byte) {
	s.t.Helper()
	s.commit(&sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: &sitev1.StatusBatch{
		Reports: []*sitev1.NodeReport{{Node: node, Facts: &sitev1.NodeFacts{Address: node + ":7600", SealingKey: key}}},
	}}})
}

// keep does what the coordinator does until nothing is left to do.
func (s *apiSite) keep() {
	s.t.Helper()
	for range 100 {
		entry, err := s.server.Secrets.Next(s.store.View())
		if err != nil {
			s.t.Fatal(err)
		}
		if entry == nil {
			return
		}
		s.commit(entry)
	}
	s.t.Fatal("the coordinator is never done with the site's key")
}

func secretJSON(name, fields string) string {
	return fmt.Sprintf(`{"secret":{"kind":"Secret","name":%q,%s}}`, name, fields)
}

func usingSecret(name, use string) string {
	return fmt.Sprintf(`{"workload":{"kind":"Workload","name":%q,"replicas":1,"container":{"image":"site.local/web:1","secrets":[%s]}}}`, name, use)
}

// must calls and wants no error.
func (s *apiSite) must(method, body string) answer {
	s.t.Helper()
	mia := operator("mia")
	got := s.call(&mia, method, body)
	if got.code() != "" {
		s.t.Fatalf("%s %s gave %v", method, body, got.body)
	}
	return got
}

// refused calls and wants an error that says something and not the value.
func (s *apiSite) refused(method, body, code, says string) {
	s.t.Helper()
	mia := operator("mia")
	got := s.call(&mia, method, body)
	text := fmt.Sprint(got.body)
	if got.code() != code || !strings.Contains(text, says) {
		s.t.Errorf("%s %s gave %v, want %s and %q", method, body, got.body, code, says)
	}
	if strings.Contains(text, clear) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(clear))) {
		s.t.Errorf("the error tells the value: %s", text)
	}
}

func (s *apiSite) wantHidden() {
	s.t.Helper()
	data, err := s.store.Marshal()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, form := range []string{clear, base64.StdEncoding.EncodeToString([]byte(clear))} {
		if bytes.Contains(data, []byte(form)) {
			s.t.Errorf("the state holds %q", form)
		}
	}
}

// Else the next project of that name would come with the secrets of the last.
func TestASecretNeedsItsProjectAndKeepsIt(t *testing.T) {
	s := secretsSite(t)
	secret := resourcesOf(secretJSON("db", `"project":"shop","stringData":{"password":"`+clear+`"}`))
	s.refused(apply, secret, "not_found", "there is no such project")
	s.put(&skerryv1.Project{Name: "shop"})
	s.must(apply, secret)
	s.refused(remove, `{"kind":"Project","name":"shop"}`, "failed_precondition", "secret db")
	s.must(remove, `{"kind":"Secret","name":"db","project":"shop"}`)
	s.must(remove, `{"kind":"Project","name":"shop"}`)
}

func TestASecretIsKeptAndNeverShown(t *testing.T) {
	s := secretsSite(t)
	body := resourcesOf(secretJSON("db", `"stringData":{"password":"`+clear+`","user":"skipper"}`))
	if got := fmt.Sprint(s.must(apply, body).body); strings.Contains(got, clear) || !strings.Contains(got, "created") {
		t.Errorf("the apply answered %s", got)
	}
	if got := fmt.Sprint(s.must(apply, body).body); !strings.Contains(got, "unchanged") {
		t.Errorf("the same again answered %s", got)
	}
	for method, body := range map[string]string{get: `{"kind":"Secret","name":"db"}`, listAll: `{"kind":"Secret"}`} {
		got := fmt.Sprint(s.must(method, body).body)
		if strings.Contains(got, clear) || !strings.Contains(got, "password") || !strings.Contains(got, fmt.Sprint(len(clear))) {
			t.Errorf("%s answered %s", method, got)
		}
	}
	s.wantHidden()
	got := s.must(reveal, `{"name":"db","key":"password"}`)
	if value, _ := base64.StdEncoding.DecodeString(got.body["value"].(string)); string(value) != clear {
		t.Errorf("it is revealed as %q", value)
	}
	if events := s.store.View().Events(0, 1); events[0].GetReason() != "SecretRevealed" {
		t.Errorf("the last event is %v", events)
	}
	changed := resourcesOf(secretJSON("db", `"data":{"password":"`+base64.StdEncoding.EncodeToString([]byte("other"))+`"}`))
	s.must(apply, changed)
	if version := s.store.View().Secret("default", "db").GetSecret().GetGeneration(); version != 2 {
		t.Errorf("after a change it is version %d", version)
	}
}

func TestARepeatedApplyOfASecretHappensOnce(t *testing.T) {
	s := secretsSite(t)
	body := `{"requestId":"once","resources":[` + secretJSON("db", `"stringData":{"password":"`+clear+`"}`) + `]}`
	s.must(apply, body)
	s.must(apply, resourcesOf(secretJSON("db", `"stringData":{"password":"newer"}`)))
	if got := fmt.Sprint(s.must(apply, body).body); !strings.Contains(got, "created") {
		t.Errorf("the retry answered %s", got)
	}
	if version := s.store.View().Secret("default", "db").GetSealed().GetVersion(); version != 2 {
		t.Errorf("after the retry it is version %d", version)
	}
}

func TestSecretsThatAreRefused(t *testing.T) {
	s := secretsSite(t)
	many := map[string]string{}
	for i := range 65 {
		many[fmt.Sprint("k", i)] = "x"
	}
	manyJSON, _ := json.Marshal(many)
	for _, test := range []struct{ name, fields, says string }{
		{"nothing in it", `"labels":{}`, "data"},
		{"not base64", `"data":{"password":"` + clear + `"}`, "data.password"},
		{"a key that is no file's name", `"stringData":{"a/b":"` + clear + `"}`, "stringData.a/b"},
		{"a key that leaves its directory", `"stringData":{"..":"` + clear + `"}`, "stringData..."},
		{"a key twice", `"stringData":{"a":"` + clear + `"},"data":{"a":"eA=="}`, "twice"},
		{"too many keys", `"stringData":` + string(manyJSON), "65"},
		{"too large", `"stringData":{"a":"` + strings.Repeat(clear, 3000) + `"}`, "65536"},
		{"a file that nobody read", `"file":{"a":"/etc/shadow"}`, "file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := s.contents()
			s.refused(apply, resourcesOf(secretJSON("db", test.fields)), "invalid_argument", test.says)
			if before != s.contents() {
				t.Error("it changed something")
			}
		})
	}
}

func TestWorkloadsAndTheirSecrets(t *testing.T) {
	s := secretsSite(t)
	files, env := `{"secret":"db","path":"/run/secrets/db"}`, `{"secret":"db","key":"password","env":"PASSWORD"}`
	s.refused(apply, resourcesOf(usingSecret("web", files)), "invalid_argument", "there is no secret db")
	secret := secretJSON("db", `"stringData":{"password":"`+clear+`"}`)
	s.must(apply, `{"dryRun":true,"resources":[`+usingSecret("web", files)+`,`+secret+`]}`)
	s.must(apply, resourcesOf(usingSecret("web", files+","+env), secret))
	s.refused(apply, resourcesOf(usingSecret("other", `{"secret":"db","key":"user","env":"U"}`)), "invalid_argument", "no key user")
	s.refused(remove, `{"kind":"Secret","name":"db"}`, "failed_precondition", "workload web uses it")
	s.refused(apply, resourcesOf(secretJSON("db", `"stringData":{"user":"`+clear+`"}`)), "failed_precondition", "workload web names its key password")
	s.must(remove, `{"kind":"Workload","name":"web"}`)
	s.must(remove, `{"kind":"Secret","name":"db"}`)
	s.refused(reveal, `{"name":"db","key":"password"}`, "not_found", "db")
}

func TestARotationLeavesNothingUnderTheOldKey(t *testing.T) {
	s := secretsSite(t)
	for i := range 70 {
		s.must(apply, resourcesOf(secretJSON(fmt.Sprint("s", i), `"stringData":{"password":"`+clear+`"}`)))
	}
	before := s.store.View().Secret("default", "s7").GetSealed()
	s.must(rotateKey, `{"requestId":"r"}`)
	s.must(rotateKey, `{"requestId":"r"}`)
	got := s.must(secretKeys, `{}`)
	if len(got.body["keys"].([]any)) != 2 || got.body["behind"] != float64(70) {
		t.Errorf("after the rotation: %v", got.body)
	}
	s.keep()
	got = s.must(secretKeys, `{}`)
	if len(got.body["keys"].([]any)) != 1 || got.body["behind"] != nil || got.body["open"] != true {
		t.Errorf("in the end: %v", got.body)
	}
	after := s.store.View().Secret("default", "s7").GetSealed()
	if bytes.Equal(before.GetDataKey(), after.GetDataKey()) || !bytes.Equal(before.GetCiphertext(), after.GetCiphertext()) {
		t.Error("the data key is as it was, or the content is not")
	}
	s.must(reveal, `{"name":"s7","key":"password"}`)
}

func TestWhoMayOpenTheSitesKey(t *testing.T) {
	s := secretsSite(t)
	s.must(apply, resourcesOf(secretJSON("db", `"stringData":{"password":"`+clear+`"}`)))
	other, err := envelope.NewRecipient(env.NewSystem().Rand)
	if err != nil {
		t.Fatal(err)
	}
	version := func() (uint64, []string) {
		keys := s.store.View().SecretKeys()
		var names []string
		for _, wrap := range keys[len(keys)-1].GetWraps() {
			names = append(names, wrap.GetNode()+wrap.GetRecovery())
		}
		return keys[len(keys)-1].GetVersion(), names
	}
	s.must(addRecovery, `{"name":"safe","publicKey":"`+base64.StdEncoding.EncodeToString(other.Public())+`"}`)
	s.keep()
	if v, names := version(); v != 1 || fmt.Sprint(names) != "[n1 safe]" {
		t.Errorf("with a recovery key: version %d, %v", v, names)
	}
	// A machine whose key was lost cannot open anything; the recovery key can.
	lost := s.server.Secrets
	fresh := newAPISite(t)
	defer func() { s.server.Secrets = lost }()
	s.server.Secrets = fresh.server.Secrets
	s.report("n1", fresh.recipient.Public())
	if s.server.Secrets.CanOpen(s.store.View()) {
		t.Fatal("another key opens it")
	}
	s.refused(reveal, `{"name":"db","key":"password"}`, "unavailable", "recover")
	key := s.store.View().SecretKeys()[0]
	opened, err := other.Open(envelope.SiteKeyPlace(s.store.View().SiteID(), 1, "recovery", "safe"), key.GetWraps()[1].GetSealed())
	if err != nil {
		t.Fatal(err)
	}
	hand := func(key []byte) string {
		sealed, err := envelope.SealTo(fresh.recipient.Public(), envelope.SiteKeyPlace(s.store.View().SiteID(), 1, "node", "n1"), key)
		if err != nil {
			t.Fatal(err)
		}
		b64 := base64.StdEncoding.EncodeToString
		return `{"keys":[{"version":1,"node":"n1","publicKey":"` + b64(fresh.recipient.Public()) + `","sealed":"` + b64(sealed) + `"}]}`
	}
	s.refused(recoverSecrets, hand(make([]byte, 32)), "failed_precondition", "does not open")
	s.must(recoverSecrets, hand(opened))
	s.must(reveal, `{"name":"db","key":"password"}`)
	s.must(removeRecovery, `{"name":"safe"}`)
	s.keep()
	if v, names := version(); v != 2 || fmt.Sprint(names) != "[n1]" {
		t.Errorf("without it: version %d, %v", v, names)
	}
	s.must(reveal, `{"name":"db","key":"password"}`)
}

// tamper changes the state as no entry could.
func (s *apiSite) tamper(change func(*sitev1.Snapshot)) {
	s.t.Helper()
	data, err := s.store.Marshal()
	if err != nil {
		s.t.Fatal(err)
	}
	snapshot := &sitev1.Snapshot{}
	if err := proto.Unmarshal(data, snapshot); err != nil {
		s.t.Fatal(err)
	}
	change(snapshot)
	for range 2 { // the first attempt tells the hash
		if data, err = proto.Marshal(snapshot); err != nil {
			s.t.Fatal(err)
		}
		other := state.New()
		err := other.Restore(data)
		if err == nil {
			s.server.Store = other
			return
		}
		if _, scanned := fmt.Sscanf(err.Error()[strings.Index(err.Error(), "has hash"):], "has hash %x,", &snapshot.Hash); scanned != nil {
			s.t.Fatal(err)
		}
	}
	s.t.Fatal("the state could not be changed")
}

func TestTamperedSecretsAreRefusedByName(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*sitev1.Snapshot)
	}{
		{"a bit of the content", func(s *sitev1.Snapshot) { s.Secrets[0].Sealed.Ciphertext[20] ^= 1 }},
		{"a bit of the data key", func(s *sitev1.Snapshot) { s.Secrets[0].Sealed.DataKey[20] ^= 1 }},
		{"another secret's content", func(s *sitev1.Snapshot) { s.Secrets[0].Sealed = s.Secrets[1].Sealed }},
		{"an older version", func(s *sitev1.Snapshot) { s.Secrets[0].Sealed.Version++ }},
		{"another site", func(s *sitev1.Snapshot) { s.SiteId = strings.Repeat("0", 64) }},
		{"another project", func(s *sitev1.Snapshot) { s.Secrets[0].Secret.Project = "other" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := secretsSite(t)
			s.must(apply, resourcesOf(secretJSON("db", `"stringData":{"password":"`+clear+`"}`), secretJSON("dc", `"stringData":{"password":"`+clear+` 2"}`)))
			s.tamper(test.change)
			view := s.server.Store.View()
			record := view.Secret("default", "db")
			if record == nil {
				record = view.Secret("other", "db")
			}
			if _, err := s.server.Secrets.Values(view, record); err == nil || !strings.Contains(err.Error(), "Secret/db") {
				t.Errorf("it gave %v", err)
			}
		})
	}
}

// Another voter could tell only when it is the coordinator, which is too late.
func TestWhatIsHandedBackForOtherVotersIsSealedAnew(t *testing.T) {
	s := secretsSite(t)
	second, err := envelope.NewRecipient(env.NewSystem().Rand)
	if err != nil {
		t.Fatal(err)
	}
	s.report("n2", second.Public())
	s.voter("n2")
	view := s.store.View()
	key, err := s.recipient.Open(envelope.SiteKeyPlace(view.SiteID(), 1, "node", "n1"), view.SecretKeys()[0].GetWraps()[0].GetSealed())
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.StdEncoding.EncodeToString
	handed := func(recipient *envelope.Recipient, node string, key []byte) string {
		sealed, err := envelope.SealTo(recipient.Public(), envelope.SiteKeyPlace(view.SiteID(), 1, "node", node), key)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`{"version":1,"node":%q,"publicKey":%q,"sealed":%q}`, node, b64(recipient.Public()), b64(sealed))
	}
	wrong := handed(second, "n2", make([]byte, 32))
	s.refused(recoverSecrets, `{"keys":[`+wrong+`]}`, "failed_precondition", "does not open on the coordinator")
	s.must(recoverSecrets, `{"keys":[`+handed(s.recipient, "n1", key)+`,`+wrong+`]}`)
	for _, wrap := range s.store.View().SecretKeys()[0].GetWraps() {
		if wrap.GetNode() != "n2" {
			continue
		}
		opened, err := second.Open(envelope.SiteKeyPlace(view.SiteID(), 1, "node", "n2"), wrap.GetSealed())
		if err != nil || !bytes.Equal(opened, key) {
			t.Errorf("n2 opens %x, %v: not the site's key", opened, err)
		}
		return
	}
	t.Error("nothing is sealed to n2")
}
