package dispatcher

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

const (
	// maxQueued reports wait for the log; nodes wait when it is full.
	maxQueued = 1024
	// maxBatch reports go into one entry.
	maxBatch = 256
	// reportTimeout bounds the commit of a batch; agents send again what was
	// not acknowledged.
	reportTimeout = 5 * time.Second
)

// report waits to be committed; done is called once, with what came of it.
type report struct {
	report *sitev1.NodeReport
	done   func(error)
}

// Run brings reports into the log, and keeps orders up to date, until ctx ends.
func (d *Dispatcher) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.watch(ctx) })
	group.Go(func() error { return d.bring(ctx) })
	return group.Wait()
}

func (d *Dispatcher) bring(ctx context.Context) error {
	for number := uint64(1); ; number++ {
		select {
		case first := <-d.reports:
			d.commit(ctx, number, d.gather(first))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (d *Dispatcher) gather(first report) []report {
	batch := []report{first}
	for len(batch) < maxBatch {
		select {
		case next := <-d.reports:
			batch = append(batch, next)
		default:
			return batch
		}
	}
	return batch
}

func (d *Dispatcher) commit(ctx context.Context, number uint64, batch []report) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	reports := make([]*sitev1.NodeReport, 0, len(batch))
	for _, r := range batch {
		reports = append(reports, r.report)
	}
	outcome, err := d.log.Propose(ctx, &sitev1.Entry{
		// Unique: the term is of this coordinator alone. Agents' reports carry
		// revisions, so repeating one does no harm.
		RequestId: fmt.Sprintf("status-%d-%d-%d", d.log.Status().Term, d.clock.Elapsed(), number),
		Principal: "coordinator",
		Change:    &sitev1.Entry_StatusBatch{StatusBatch: &sitev1.StatusBatch{Reports: reports}},
	})
	if err != nil && ctx.Err() == nil {
		d.logger.Debug("reports were not committed; agents send them again", "reports", len(batch), "error", err)
	}
	if outcome.GetErrorKind() != "" {
		// Sending it again would not help; the agent reports on at its next change.
		d.logger.Warn("the state refused a batch of reports", "error", outcome.GetError())
	}
	for _, r := range batch {
		r.done(err)
	}
}
