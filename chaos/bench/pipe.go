package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"skerry.dev/chaos/hosts"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
)

const (
	// worthless is a write that is acknowledged later.
	worthless = time.Second
	// pipeTick is how often a pipe looks what is to be sent.
	pipeTick = 2 * time.Millisecond
	// pipeOpen writes at most are under way on a pipe, fewer if the other end says so.
	// What is offered then is not sent, and counted as such.
	pipeOpen = 250
	// pipeWindow is what the other end may send, in bytes.
	pipeWindow = 1 << 24
)

// pipe is a connection on which writes are sent without waiting for their answers. It
// speaks HTTP/2 by hand (RFC 9113): what a client of net/http spends on a call is what
// the site spends on a refusal, and the processors are the same here.
type pipe struct {
	conn    net.Conn
	address string
	number  int

	// Of the goroutine that sends.
	out    *bufio.Writer
	framer *http2.Framer
	header bytes.Buffer
	table  *hpack.Encoder
	serial int

	mu sync.Mutex
	// clients write one write after the other, or writes are offered at a rate since
	// begun, of which due have been.
	clients int
	rate    float64
	begun   time.Time
	due     int
	// open writes, and all that were sent, the oldest first.
	open map[uint32]bool
	most int
	sent []sentWrite
	next uint32
	seen tallied
	// To be sent when there is time: what was read since the last time, and answers.
	taken   uint32
	answers []func() error
}

type sentWrite struct {
	stream uint32
	at     time.Time
}

func newPipe(conn net.Conn, address string, number int) *pipe {
	p := &pipe{conn: conn, address: address, number: number, out: bufio.NewWriterSize(conn, 1<<16), open: map[uint32]bool{}, most: pipeOpen, next: 1}
	p.framer = http2.NewFramer(p.out, bufio.NewReaderSize(conn, 1<<16))
	p.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.framer.SetReuseFrames()
	p.table = hpack.NewEncoder(&p.header)
	return p
}

// begin to write, with so many clients or at a rate.
func (p *pipe) begin(clients int, rate float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clients, p.rate, p.begun, p.due, p.seen = clients, rate, time.Now(), 0, tallied{}
}

// stop writing.
func (p *pipe) stop() { p.mu.Lock(); p.clients, p.rate = 0, 0; p.mu.Unlock() }

// busy while answers are awaited.
func (p *pipe) busy() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.open) > 0 }

// take what became of the writes.
func (p *pipe) take() tallied { p.mu.Lock(); defer p.mu.Unlock(); return p.seen }

// run until ctx ends or the connection fails.
func (p *pipe) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() { _ = p.conn.Close() }) // both goroutines return then
	defer stop()
	group.Go(func() error { return p.send(ctx) })
	group.Go(p.receive)
	err := group.Wait()
	if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("connection %d of the callers: %w", p.number, err)
}

func (p *pipe) send(ctx context.Context) error {
	if _, err := p.out.WriteString(http2.ClientPreface); err != nil {
		return err
	}
	if err := errors.Join(p.framer.WriteSettings(), p.framer.WriteWindowUpdate(0, pipeWindow)); err != nil {
		return err
	}
	for {
		begin, end, answers := p.look()
		for _, answer := range answers {
			if err := answer(); err != nil {
				return err
			}
		}
		for _, stream := range end {
			if err := p.framer.WriteRSTStream(stream, http2.ErrCodeCancel); err != nil {
				return err
			}
		}
		for _, stream := range begin {
			if err := p.request(stream); err != nil {
				return err
			}
		}
		if err := p.out.Flush(); err != nil {
			return err
		}
		if err := hosts.Sleep(ctx, pipeTick); err != nil {
			return err
		}
	}
}

// look which writes begin and which are given up now, and what is to be answered.
func (p *pipe) look() (begin, end []uint32, answers []func() error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for len(p.sent) > 0 && (!p.open[p.sent[0].stream] || now.Sub(p.sent[0].at) > worthless) {
		if stream := p.sent[0].stream; p.open[stream] {
			delete(p.open, stream)
			end = append(end, stream)
			p.seen.Late++
		}
		p.sent = p.sent[1:]
	}
	n := max(0, p.clients-len(p.open))
	if p.rate > 0 {
		n = int(p.rate*now.Sub(p.begun).Seconds()) - p.due
		p.due += n
	}
	p.seen.Offered += int64(n)
	for range n {
		if len(p.open) >= p.most {
			p.seen.Unsent++
			continue
		}
		p.open[p.next] = true
		p.sent = append(p.sent, sentWrite{p.next, now})
		begin = append(begin, p.next)
		p.next += 2
	}
	answers, p.answers = p.answers, nil
	if taken := p.taken; taken > pipeWindow/2 {
		p.taken = 0
		answers = append(answers, func() error { return p.framer.WriteWindowUpdate(0, taken) })
	}
	return begin, end, answers
}

// request one write.
func (p *pipe) request(stream uint32) error {
	p.serial++
	body, err := proto.Marshal(smallWrite(fmt.Sprintf("f-%d", p.serial%256), fmt.Sprintf("%d-%d-%d", time.Now().UnixNano(), p.number, p.serial)))
	if err != nil {
		return err
	}
	p.header.Reset()
	for _, field := range []hpack.HeaderField{
		{Name: ":method", Value: http.MethodPost},
		{Name: ":scheme", Value: "https"},
		{Name: ":authority", Value: p.address},
		{Name: ":path", Value: skerryv1connect.ResourceServiceApplyProcedure},
		{Name: "content-type", Value: "application/proto"},
		{Name: "connect-protocol-version", Value: "1"},
		{Name: "connect-timeout-ms", Value: strconv.FormatInt(worthless.Milliseconds(), 10)},
	} {
		if err := p.table.WriteField(field); err != nil {
			return err
		}
	}
	return errors.Join(
		p.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: p.header.Bytes(), EndHeaders: true}),
		p.framer.WriteData(stream, true, body))
}

// receive until the connection ends.
func (p *pipe) receive() error {
	status := map[uint32]string{}
	for {
		frame, err := p.framer.ReadFrame()
		if err != nil {
			return err
		}
		stream, ended := frame.Header().StreamID, false
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			if s := frame.PseudoValue("status"); s != "" {
				status[stream] = s
			}
			ended = frame.StreamEnded()
		case *http2.DataFrame:
			p.later(frame.Length, nil)
			ended = frame.StreamEnded()
		case *http2.RSTStreamFrame:
			if frame.ErrCode != http2.ErrCodeNo { // "no error" follows an answer
				ended = true
			}
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				p.settle(frame)
			}
		case *http2.PingFrame:
			if data := frame.Data; !frame.IsAck() {
				p.later(0, func() error { return p.framer.WritePing(true, data) })
			}
		case *http2.GoAwayFrame:
			return fmt.Errorf("the site ends it: %s", frame.ErrCode)
		}
		if ended {
			p.answered(stream, status[stream])
			delete(status, stream)
		}
	}
}

// settle what the other end asks for.
func (p *pipe) settle(frame *http2.SettingsFrame) {
	p.later(0, p.framer.WriteSettingsAck)
	if most, says := frame.Value(http2.SettingMaxConcurrentStreams); says {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.most = min(int(most), pipeOpen)
	}
}

// later is sent when there is time.
func (p *pipe) later(taken uint32, answer func() error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken += taken
	if answer != nil {
		p.answers = append(p.answers, answer)
	}
}

// answered: a write has its answer.
func (p *pipe) answered(stream uint32, status string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.open[stream] {
		return // given up
	}
	delete(p.open, stream)
	switch status {
	case "200":
		p.seen.Good++
	case "429":
		p.seen.Refused++
	case "504":
		p.seen.Late++
	default:
		p.seen.Failed++
	}
}
