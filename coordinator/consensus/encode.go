package consensus

import "context"

// Encode returns the whole state as it is after some entry. It holds up the log
// for as long as a snapshot does.
func (n *Node) Encode(ctx context.Context) (data []byte, err error) {
	failed := n.do(ctx, func() error {
		data, err = n.replica.config.Machine.Marshal()
		return err
	})
	return data, failed
}

// Last entry of this replica's log.
func (n *Node) Last(ctx context.Context) (term, index uint64, err error) {
	err = n.do(ctx, func() error {
		index, err = n.replica.config.Log.LastIndex()
		if err == nil {
			term, err = n.replica.config.Log.Term(index)
		}
		return err
	})
	return term, index, err
}
