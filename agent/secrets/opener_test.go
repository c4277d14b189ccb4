package secrets

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/envelope"
)

const password = "correct horse battery staple"

// delivered are orders with the secret db, as a coordinator makes them.
func delivered(t *testing.T, to *envelope.Recipient) *sitev1.Assignments {
	t.Helper()
	key, err := envelope.NewKey(env.NewSystem().Rand)
	if err != nil {
		t.Fatal(err)
	}
	ciphertext, err := envelope.EncryptValues(key, "5eed", "shop", "db", 3, map[string][]byte{"password": []byte(password), "user": []byte("skipper")})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := envelope.SealTo(to.Public(), envelope.DeliveryPlace("5eed", "shop", "db", 3, "n1"), key)
	if err != nil {
		t.Fatal(err)
	}
	return &sitev1.Assignments{SiteId: "5eed", Secrets: []*sitev1.DeliveredSecret{{
		Project: "shop", Name: "db", Version: 3, Ciphertext: ciphertext, NodeKey: sealed,
	}}}
}

func recipient(t *testing.T) *envelope.Recipient {
	t.Helper()
	r, err := envelope.NewRecipient(env.NewSystem().Rand)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var uses = &skerryv1.Container{Secrets: []*skerryv1.SecretUse{
	{Secret: "db", Path: "/run/secrets/db", Mode: "0440"}, {Secret: "db", Key: "user", Path: "/run/user"}, {Secret: "db", Key: "password", Env: "PASSWORD"},
}}

func TestAContainerGetsWhatItNames(t *testing.T) {
	own := recipient(t)
	opened, err := New("n1", own).Open(delivered(t, own), "shop", uses)
	if err != nil {
		t.Fatal(err)
	}
	if len(opened.Dirs) != 2 || len(opened.Dirs[0].Files) != 2 || len(opened.Dirs[1].Files) != 1 || opened.Dirs[0].Mode != 0o440 || opened.Dirs[1].Mode != 0o400 {
		t.Errorf("the directories are of another shape")
	}
	if string(opened.Dirs[0].Files["password"]) != password || opened.Env["PASSWORD"] != password {
		t.Error("the values are others")
	}
}

func TestWhatIsNotForThisNodeIsRefusedByName(t *testing.T) {
	own := recipient(t)
	for _, test := range []struct {
		name   string
		change func(*sitev1.Assignments)
		says   string
	}{
		{"it has not come", func(o *sitev1.Assignments) { o.Secrets = nil }, "has not come"},
		{"it has come without its key", func(o *sitev1.Assignments) { o.Secrets[0].NodeKey = nil }, "has not come"},
		{"that of another project", func(o *sitev1.Assignments) { o.Secrets[0].Project = "bank" }, "has not come"},
		{"a bit of it", func(o *sitev1.Assignments) { o.Secrets[0].Ciphertext[30] ^= 1 }, "of no use"},
		{"a bit of its key", func(o *sitev1.Assignments) { o.Secrets[0].NodeKey[80] ^= 1 }, "of no use"},
		{"another version", func(o *sitev1.Assignments) { o.Secrets[0].Version = 4 }, "of no use"},
		{"another site's", func(o *sitev1.Assignments) { o.SiteId = "other" }, "of no use"},
		{"sealed to another node", func(o *sitev1.Assignments) { o.Secrets[0].NodeKey = delivered(t, recipient(t)).Secrets[0].NodeKey }, "of no use"},
		{"another secret in its place", func(o *sitev1.Assignments) {
			o.Secrets[0].Name = "tls"
			moved := proto.CloneOf(o.Secrets[0])
			moved.Name, moved.Version = "db", 2
			o.Secrets = append(o.Secrets, moved)
		}, "of no use"},
	} {
		t.Run(test.name, func(t *testing.T) {
			orders := delivered(t, own)
			test.change(orders)
			opened, err := New("n1", own).Open(orders, "shop", uses)
			if err == nil || !strings.Contains(err.Error(), "Secret/db") || !strings.Contains(err.Error(), test.says) {
				t.Errorf("it gave %v", err)
			}
			if text := fmt.Sprint(err, opened); strings.Contains(text, password) {
				t.Errorf("it tells the value: %s", text)
			}
		})
	}
}

func TestAKeyThatIsGoneIsNamed(t *testing.T) {
	own := recipient(t)
	_, err := New("n1", own).Open(delivered(t, own), "shop", &skerryv1.Container{Secrets: []*skerryv1.SecretUse{{Secret: "db", Key: "pin", Env: "PIN"}}})
	if err == nil || !strings.Contains(err.Error(), "Secret/db") || !strings.Contains(err.Error(), "pin") {
		t.Errorf("it gave %v", err)
	}
}
