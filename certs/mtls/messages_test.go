package mtls

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"skerry.dev/shared/problem"
)

// talk returns both ends of a connection.
func talk(t *testing.T, most int, silence time.Duration) (here net.Conn, there *Messages) {
	t.Helper()
	a, b := net.Pipe()
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return a, NewMessages(b, most, silence)
}

func TestMessagesComeAsTheyWereSent(t *testing.T) {
	const most = 3 * piece
	conn, there := talk(t, most, time.Minute)
	here := NewMessages(conn, most, 0)
	sizes := []int{0, 1, 100, piece - 1, piece, piece + 1, most - 8, 0}
	sent := make(chan error, 1)
	go func() {
		var err error
		for i, size := range sizes {
			err = errors.Join(err, here.Send(wrapperspb.Bytes(bytes.Repeat([]byte{byte(i)}, size))))
		}
		sent <- err
	}()
	for i, size := range sizes {
		got := &wrapperspb.BytesValue{}
		if err := there.Receive(got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.GetValue(), bytes.Repeat([]byte{byte(i)}, size)) {
			t.Errorf("message %d has %d bytes, want %d", i, len(got.GetValue()), size)
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestAMessageThatIsTooLargeIsNotSent(t *testing.T) {
	_, there := talk(t, 100, 0)
	if err := there.Send(wrapperspb.Bytes(make([]byte, 100))); problem.KindOf(err) != problem.Exhausted {
		t.Errorf("it gave %v", err)
	}
}

func TestWhatIsNoMessageIsRefused(t *testing.T) {
	whole, err := proto.Marshal(wrapperspb.String("whole"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		sent []byte
		want func(error) bool
	}{
		"nothing comes":        {nil, func(err error) bool { return errors.Is(err, io.EOF) }},
		"half of a length":     {[]byte{0, 0}, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		"a length alone":       {[]byte{0, 0, 0, 9}, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		"half of a message":    {append([]byte{0, 0, 0, 9}, whole[:3]...), func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }},
		"a length beyond all":  {[]byte{0xff, 0xff, 0xff, 0xff}, func(err error) bool { return problem.KindOf(err) == problem.Exhausted }},
		"it does not parse":    {[]byte{0, 0, 0, 1, 0xff}, func(err error) bool { return problem.KindOf(err) == problem.Invalid }},
		"no byte more is read": {append([]byte{0, 0, 0, byte(len(whole))}, whole...), func(err error) bool { return err == nil }},
	} {
		t.Run(name, func(t *testing.T) {
			here, there := talk(t, 1<<30, time.Minute)
			go func() {
				_, _ = here.Write(c.sent) // the other end tells what came of it
				_ = here.Close()
			}()
			if err := there.Receive(&wrapperspb.StringValue{}); !c.want(err) {
				t.Errorf("it gave %v", err)
			}
		})
	}
}

func TestSilenceEndsAConnection(t *testing.T) {
	_, there := talk(t, 100, 20*time.Millisecond)
	if err := there.Receive(&wrapperspb.StringValue{}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it gave %v", err)
	}
}

func TestWhoPartsWaitsForTheOtherEndNotForEver(t *testing.T) {
	_, there := talk(t, 100, 0)
	there.Part()
	there.Drain()
	if err := there.Receive(&wrapperspb.StringValue{}); err == nil {
		t.Error("something came")
	}
}
