package policy

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	imagev1 "github.com/headwater-dev/headwater/api/image/v1"
)

// digests remembers when each policy's digest was looked up. It is empty after
// a restart: each digest is then looked up once more.
type digests struct {
	mu   sync.Mutex
	seen map[types.NamespacedName]lookup
}

// lookup is when a digest was looked up, for which reconcile request, and what was
// found.
type lookup struct {
	at              time.Time
	request, digest string
}

// due says whether the digest of the policy, which has one, is to be looked up again:
// the interval is over, somebody asked for a reconcile, or what was found last did
// not get into the status.
func (d *digests) due(key types.NamespacedName, obj *imagev1.ImagePolicy, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	last, ok := d.seen[key]
	// A run comes a little before the interval's end as well: intervals vary.
	return !ok || last.request != requestOf(obj) || last.digest != obj.Status.LatestRef.Digest || now.Sub(last.at) >= obj.Interval()*9/10
}

func (d *digests) looked(key types.NamespacedName, obj *imagev1.ImagePolicy, digest string, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seen == nil {
		d.seen = map[types.NamespacedName]lookup{}
	}
	d.seen[key] = lookup{at: now, request: requestOf(obj), digest: digest}
}

func (d *digests) forget(key types.NamespacedName) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.seen, key)
}
