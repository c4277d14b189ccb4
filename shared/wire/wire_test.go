package wire

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"testing"
)

func packed(t *testing.T, size int) io.Reader {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

func TestAReaderGivesWhatMayBeSentAndThenNoMore(t *testing.T) {
	const most = 1 << 20
	r := &reader{most: most}
	for _, size := range []int{0, 1, most - 1, most, 100 * most} { // one reader serves many messages
		if err := r.Reset(packed(t, size)); err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, r)
		switch {
		case size <= most && (err != nil || n != int64(size)):
			t.Errorf("of %d bytes it gave %d: %v", size, n, err)
		case size > most && (!errors.Is(err, errTooLarge) || n > most+64<<10):
			t.Errorf("of %d bytes it gave %d: %v", size, n, err)
		}
	}
}

func TestWhatIsNotPackedIsRefused(t *testing.T) {
	if err := (&reader{most: 10}).Reset(bytes.NewReader([]byte("no gzip"))); err == nil {
		t.Error("it was taken")
	}
}
