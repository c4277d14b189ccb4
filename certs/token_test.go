package certs

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"skerry.dev/shared/problem"
)

func exampleToken() Token {
	return Token{Site: "ship.fleet", SiteID: strings.Repeat("0123456789abcdef", 4), Role: "node", Secret: bytes.Repeat([]byte{7}, secretBytes)}
}

func TestTokenIsReadAsItWasWritten(t *testing.T) {
	want := exampleToken()
	got, err := ParseToken(" " + want.String() + "\n")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEveryTruncationIsNoticed(t *testing.T) {
	text := exampleToken().String()
	for n := range len(text) {
		if got, err := ParseToken(text[:n]); err == nil {
			t.Errorf("the first %d characters are a token of site %s", n, got.Site)
		} else if problem.KindOf(err) != problem.Invalid || !strings.Contains(err.Error(), "skerry token create") {
			t.Errorf("the first %d characters: %v", n, err)
		}
	}
	for n := 1; n < len(text); n++ {
		if _, err := ParseToken(text[n:]); err == nil {
			t.Errorf("the token without its first %d characters was accepted", n)
		}
	}
}

func TestDamagedTokens(t *testing.T) {
	text := exampleToken().String()
	replace := func(from, to string) string { return strings.Replace(text, from, to, 1) }
	for name, damaged := range map[string]string{
		"another role":          replace(".node.", ".root."),
		"another version":       replace("skerry1", "skerry2"),
		"a site that is a path": replace("ship.fleet", ".."),
		"a site that is a URI":  replace("ship.fleet", "spiffe://x/../y"),
		"an ID in capitals":     strings.ToUpper(text[:30]) + text[30:],
		"a character too many":  text + "A",
		"bits after the secret": text[:len(text)-1] + "d",
		"an endless one":        text + strings.Repeat("A", maxToken),
		"a line break in it":    text[:40] + "\n" + text[40:],
	} {
		if got, err := ParseToken(damaged); err == nil {
			t.Errorf("%s was accepted: %+v", name, got)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(exampleToken().String())
	f.Fuzz(func(t *testing.T, text string) {
		token, err := ParseToken(text)
		if err == nil && token.String() != strings.TrimSpace(text) {
			t.Errorf("%q reads as %q", text, token.String())
		}
	})
}
