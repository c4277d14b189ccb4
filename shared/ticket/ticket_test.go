package ticket

import (
	"bytes"
	"crypto/sha256"
	"testing"
)

func sum(text string) []byte {
	s := sha256.Sum256([]byte(text))
	return s[:]
}

func TestATicketIsForOneNodeOneImageAndOneSource(t *testing.T) {
	const image = "sha256:1111"
	site, next := sum("site"), sum("next")
	key, nextKey := SourceKey(site, sum("source")), SourceKey(next, sum("source"))
	good := For(key, sum("node"), image)
	for name, test := range map[string]struct {
		keys   [][]byte
		node   []byte
		image  string
		ticket []byte
		valid  bool
	}{
		"its own":                           {[][]byte{key}, sum("node"), image, good, true},
		"by a key before the newest":        {[][]byte{key, nextKey}, sum("node"), image, good, true},
		"by a key that is gone":             {[][]byte{nextKey}, sum("node"), image, good, false},
		"another node's":                    {[][]byte{key}, sum("other"), image, good, false},
		"for another image":                 {[][]byte{key}, sum("node"), "sha256:2222", good, false},
		"at another source":                 {[][]byte{SourceKey(site, sum("elsewhere"))}, sum("node"), image, good, false},
		"cut short":                         {[][]byte{key}, sum("node"), image, good[:Size-1], false},
		"too long":                          {[][]byte{key}, sum("node"), image, append(bytes.Clone(good), 0), false},
		"none":                              {[][]byte{key}, sum("node"), image, nil, false},
		"at a source without keys":          {nil, sum("node"), image, good, false},
		"at a source with an empty key":     {[][]byte{{}}, sum("node"), image, For(nil, sum("node"), image), false},
		"of somebody without a key":         {[][]byte{key}, nil, image, For(key, nil, image), false},
		"the image's digest begins a key":   {[][]byte{key}, sum("node")[:16], string(sum("node")[16:]) + image, good, false},
		"the source's key as if the site's": {[][]byte{key}, sum("node"), image, SourceKey(key, sum("node"))[:Size], false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Valid(test.keys, test.node, test.image, test.ticket); got != test.valid {
				t.Errorf("valid: %v", got)
			}
		})
	}
}

func FuzzValid(f *testing.F) {
	key := SourceKey(sum("site"), sum("source"))
	f.Add(sum("node"), "sha256:1111", For(key, sum("node"), "sha256:1111"))
	f.Fuzz(func(t *testing.T, node []byte, image string, shown []byte) {
		if Valid([][]byte{key}, node, image, shown) && !bytes.Equal(shown, For(key, node, image)) {
			t.Error("a ticket counts that was not made")
		}
	})
}
