package envelope

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"skerry.dev/shared/env"
)

func newRecipient(t interface{ Fatal(...any) }) *Recipient {
	r, err := NewRecipient(env.NewSystem().Rand)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWhatIsSealedOpensInItsPlaceAlone(t *testing.T) {
	recipient := newRecipient(t)
	rapid.Check(t, func(t *rapid.T) {
		content := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "content")
		name, version := rapid.String().Draw(t, "name"), rapid.Uint64().Draw(t, "version")
		place := At("test", name, version)
		key, err := NewKey(env.NewSystem().Rand)
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := Encrypt(key, place, content)
		if err != nil {
			t.Fatal(err)
		}
		wrapped, err := SealTo(recipient.Public(), place, key)
		if err != nil {
			t.Fatal(err)
		}
		opened, err := recipient.Open(place, wrapped)
		if err != nil || !bytes.Equal(opened, key) {
			t.Fatalf("the key opened as %x, %v", opened, err)
		}
		if got, err := Decrypt(opened, place, sealed); err != nil || !bytes.Equal(got, content) {
			t.Fatalf("it opened as %q, %v", got, err)
		}
		for _, elsewhere := range []Place{At("test", name, version+1), At("test", name+"x", version), At("other", name, version), At("test", version, name), nil} {
			if _, err := Decrypt(key, elsewhere, sealed); !errors.Is(err, ErrSealed) {
				t.Fatalf("elsewhere it gave %v", err)
			}
			if _, err := recipient.Open(elsewhere, wrapped); !errors.Is(err, ErrSealed) {
				t.Fatalf("elsewhere the key gave %v", err)
			}
		}
		tamper(t, sealed, func(bad []byte) ([]byte, error) { return Decrypt(key, place, bad) })
		tamper(t, wrapped, func(bad []byte) ([]byte, error) { return recipient.Open(place, bad) })
	})
}

func tamper(t *rapid.T, good []byte, open func([]byte) ([]byte, error)) {
	bad := bytes.Clone(good)
	switch rapid.SampledFrom([]string{"flip", "cut", "extend"}).Draw(t, "how") {
	case "flip":
		bad[rapid.IntRange(0, len(bad)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
	case "cut":
		bad = bad[:rapid.IntRange(0, len(bad)-1).Draw(t, "length")]
	default:
		bad = append(bad, 0)
	}
	if got, err := open(bad); !errors.Is(err, ErrSealed) {
		t.Fatalf("tampered with it gave %q, %v", got, err)
	}
}

func TestNobodyElseOpensIt(t *testing.T) {
	one, other := newRecipient(t), newRecipient(t)
	sealed, err := SealTo(one.Public(), At("test"), []byte("a key"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Open(At("test"), sealed); !errors.Is(err, ErrSealed) {
		t.Errorf("it gave %v", err)
	}
	for _, public := range [][]byte{nil, {4}, make([]byte, PublicKeySize), append([]byte{4}, bytes.Repeat([]byte{1}, 64)...)} {
		if _, err := SealTo(public, At("test"), nil); err == nil {
			t.Errorf("%x was taken for a public key", public)
		}
		if CheckPublic(public) == nil {
			t.Errorf("%x passed for a public key", public)
		}
	}
}

func TestKeysAreReadAsTheyWereWritten(t *testing.T) {
	r := newRecipient(t)
	encoded, err := r.PEM()
	if err != nil {
		t.Fatal(err)
	}
	stored, err := ParsePEM(encoded)
	if err != nil || !bytes.Equal(stored.Public(), r.Public()) {
		t.Errorf("the PEM gave %v, %v", stored, err)
	}
	written, err := ParseText(" " + r.Text()[:30] + "\n" + r.Text()[30:] + "\n")
	if err != nil || !bytes.Equal(written.Public(), r.Public()) {
		t.Errorf("the text gave %v, %v", written, err)
	}
	for _, text := range []string{"", recoveryPrefix, r.Text()[1:], r.Text() + "A", r.Text()[:len(r.Text())-2] + "zz"} {
		if _, err := ParseText(text); err == nil {
			t.Errorf("%q was taken for a recovery key", text)
		}
	}
	for _, encoded := range []string{"", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		if _, err := ParsePEM([]byte(encoded)); err == nil {
			t.Errorf("%q was taken for a key", encoded)
		}
	}
}

func FuzzParseText(f *testing.F) {
	f.Add(newRecipient(f).Text())
	f.Add(recoveryPrefix)
	f.Fuzz(func(t *testing.T, text string) {
		if r, err := ParseText(text); err == nil && len(r.Public()) != PublicKeySize {
			t.Error("a key without a public half")
		}
	})
}
