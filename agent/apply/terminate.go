package apply

import "context"

// Terminating returns those of the objects that have been deleted and are not
// gone yet: something has still to be cleaned up for them.
func (a *Applier) Terminating(ctx context.Context, refs []Ref) ([]Ref, error) {
	going := make([]bool, len(refs))
	errs := a.parallel(ctx, len(refs), func(i int) error {
		live, err := a.locate(ctx, refs[i])
		going[i] = live != nil && !live.GetDeletionTimestamp().IsZero()
		return err
	})
	if len(errs) > 0 {
		return nil, joined(errs)
	}
	var left []Ref
	for i, ref := range refs {
		if going[i] {
			left = append(left, ref)
		}
	}
	return left, nil
}
