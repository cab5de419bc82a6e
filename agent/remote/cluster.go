package remote

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/headwater-dev/headwater/internal/reconcile"
	"github.com/headwater-dev/headwater/shard"
)

const (
	// probeFailures in a row make a target unreachable.
	probeFailures = 3
	// defaultDrain is how long a hand-over waits for work in flight that has not
	// said how long it takes, before it is cut off.
	defaultDrain = 30 * time.Second
)

// redial spreads the attempts to reach a target that does not answer.
func redial() wait.Backoff {
	return wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.2, Steps: 16, Cap: 5 * time.Minute}
}

// cluster is one key that this agent owns: its connection, its fence, and the
// work that is under way for it.
type cluster struct {
	key shard.Key
	// record is the RemoteCluster that assigns the key.
	record  types.NamespacedName
	parent  *Clusters
	fence   *fence
	refresh chan struct{}
	// cut ends every request to the target.
	cut    context.CancelFunc
	closed context.Context
	// leave ends what is made only to be brought to the target, when the hand-over
	// begins.
	leave   context.CancelFunc
	leaving context.Context
	stopped chan struct{}

	// mu is never held over I/O.
	mu      sync.Mutex
	session *session
	// uid is the cluster that was reached last, and host the server.
	uid, host string
	err       error
	// out is since when all attempts to reach it have failed; zero while it is.
	out  time.Time
	work int
	// lasting is until when the work may take that has said so.
	lasting map[*Target]time.Time
	// idle is made when the hand-over begins, and closed when no work is left.
	idle chan struct{}
}

// run dials, probes and reports until the context ends.
func (c *cluster) run(ctx context.Context) {
	defer close(c.stopped)
	ctx = log.IntoContext(ctx, log.FromContext(ctx).WithValues("target", c.key.String()))
	go wait.UntilWithContext(ctx, func(ctx context.Context) {
		if err := c.fence.tend(ctx); err != nil {
			log.FromContext(ctx).Info("fence not renewed", "error", reconcile.Redact(err.Error()))
		}
	}, c.parent.Fence.Duration/renewalsPerDuration)

	backoff, failures, changed := redial(), 0, false
	for {
		delay := c.parent.ProbeEvery
		switch err := steady(c.check(ctx, changed)); {
		case err == nil:
			backoff, failures, changed = redial(), 0, false
		case !isConfigError(err) && c.current() != nil && failures < probeFailures-1:
			failures++
			delay = min(delay, time.Second)
		default:
			c.disconnect(err)
			changed = false
			delay = backoff.Step()
		}
		c.parent.report(ctx, c)
		timer := time.NewTimer(delay)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-c.refresh:
			timer.Stop()
			changed = true
		case <-timer.C:
		}
	}
}

// check probes the connection, or makes one when there is none or its Secret
// has changed.
func (c *cluster) check(ctx context.Context, changed bool) error {
	current := c.current()
	if current == nil || changed {
		return c.connect(ctx)
	}
	probe, cancel := context.WithTimeout(ctx, c.parent.ProbeTimeout)
	defer cancel()
	err := current.probe(probe)
	if apierrors.IsUnauthorized(err) {
		return c.connect(ctx)
	}
	return err
}

// connect tries what the Secret says now. If it leads to the cluster of the
// present session, that goes on with it, watches and all; else a new session takes
// its place.
func (c *cluster) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.parent.ProbeTimeout)
	defer cancel()
	config, err := c.settings(ctx)
	if err != nil {
		return err
	}
	closed, cut := context.WithCancel(c.closed)
	present := c.current()
	made, err := newSession(config, &gate{fence: c.fence, closed: closed}, present, c.parent.tables)
	if err != nil {
		cut()
		return err
	}
	made.cut, made.reload = cut, c.reloader(made)
	// Work that has begun with it may use it for long after another took its place.
	runtime.AddCleanup(made, func(cut context.CancelFunc) { cut() }, cut)
	err = made.probe(ctx)
	if err == nil {
		err = made.identify(ctx)
	}
	switch {
	case err != nil:
		made.cut()
		return explainProbe(err)
	case present != nil && present.leadsTo(made):
		defer made.cut()
		return present.adopt(made)
	}
	c.replace(ctx, made)
	return nil
}

// settings are what the Secret says now.
func (c *cluster) settings(ctx context.Context) (*rest.Config, error) {
	config, err := c.parent.loadConfig(ctx, c.key)
	if err != nil {
		return nil, err
	}
	config.UserAgent = "headwater-agent (" + c.parent.Identity + ")"
	config.Timeout = 0
	return config, nil
}

// reloader looks for new credentials when those of a session were refused. It
// follows no change of the server: that has to be tried out first.
func (c *cluster) reloader(of *session) func(context.Context, *wire) *wire {
	return func(ctx context.Context, refused *wire) *wire {
		ctx, cancel := context.WithTimeout(ctx, c.parent.ProbeTimeout)
		defer cancel()
		config, err := c.settings(ctx)
		if err != nil || config.Host != refused.config.Host || refused.sameCredentials(config) {
			return nil
		}
		made, err := newWire(config, of.gate, c.fence.Request, refused)
		if err != nil {
			return nil
		}
		return made
	}
}

// replace puts a new session in place of the old one, whose requests in flight
// go on unless the new one leads to another cluster.
func (c *cluster) replace(ctx context.Context, made *session) {
	c.mu.Lock()
	old, before, host := c.session, c.uid, c.host
	c.mu.Unlock()
	// Where the uid may not be read, another server counts as another cluster.
	elsewhere := before != made.uid && before != "" ||
		before == "" && host != "" && host != made.config.Host
	if elsewhere && old != nil {
		old.cut()
	}
	c.fence.rebind(made.leases, elsewhere)
	if err := c.fence.prepare(ctx); err != nil {
		// Whoever wants to write says so, and what it lacks.
		log.FromContext(ctx).V(1).Info("fence not prepared", "error", reconcile.Redact(err.Error()))
	}
	c.mu.Lock()
	c.session, c.uid, c.host, c.err, c.out = made, made.uid, made.config.Host, nil, time.Time{}
	c.mu.Unlock()
	if old != nil {
		old.close()
	} else {
		connectedTargets.Inc()
	}
}

func explainProbe(err error) error {
	if apierrors.IsUnauthorized(err) {
		return &configError{errors.New("the target refuses the credentials of the kubeconfig (401)")}
	}
	return err
}

func (c *cluster) disconnect(err error) {
	c.mu.Lock()
	old := c.session
	if c.session != nil || !sameTrouble(c.err, err) {
		c.err = err
	}
	c.session = nil
	if c.out.IsZero() {
		c.out = c.parent.Clock.Now()
	}
	c.mu.Unlock()
	if old != nil {
		old.close()
		connectedTargets.Dec()
	}
}

func (c *cluster) current() *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// failing is since when this process has not reached the cluster.
func (c *cluster) failing() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out
}

// reached is the uid of the cluster that was reached last; empty where the
// credentials do not tell it.
func (c *cluster) reached() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.uid
}

// state is the session and the reason why there is none.
func (c *cluster) state() (*session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session, c.err
}

// begin counts one unit of work in.
func (c *cluster) begin() (*session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.idle != nil:
		return nil, reconcile.ErrNotOwner
	case c.session != nil:
		c.work++
		return c.session, nil
	case c.err != nil:
		return nil, c.err
	}
	return nil, ErrNotConnected
}

// admit counts a run of the loop in, with what it writes at its end. A target
// that cannot be reached is served as well: its objects say so.
func (c *cluster) admit() (end func(), after time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.idle != nil:
		return nil, 0
	case c.session == nil && c.err == nil:
		return nil, firstConnect
	}
	c.work++
	return c.end, 0
}

func (c *cluster) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.work--
	if c.work == 0 && c.idle != nil {
		close(c.idle)
	}
}

// busy says whether work is under way.
func (c *cluster) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.work > 0
}

// drain refuses new work, ends what only prepares some, and returns what is closed
// when no work is left; a second call returns false.
func (c *cluster) drain() (<-chan struct{}, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle != nil {
		return c.idle, false
	}
	c.leave()
	c.idle = make(chan struct{})
	if c.work == 0 {
		close(c.idle)
	}
	return c.idle, true
}

func (c *cluster) draining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.idle != nil
}

// await waits for the work in flight as long as a hand-over may.
func (c *cluster) await(idle <-chan struct{}) {
	usual := time.NewTimer(c.parent.Drain)
	defer usual.Stop()
	select {
	case <-idle:
		return
	case <-usual.C:
	}
	long := time.NewTimer(time.Until(c.lasts()))
	defer long.Stop()
	select {
	case <-idle:
	case <-long.C:
	case <-c.parent.late:
	}
}

// lasts is until when the work in flight may take.
func (c *cluster) lasts() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	var last time.Time
	for _, until := range c.lasting {
		if until.After(last) {
			last = until
		}
	}
	return last
}

// last notes until when a unit of work may take; without a time it has ended.
func (c *cluster) last(of *Target, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if until.IsZero() {
		delete(c.lasting, of)
		return
	}
	if c.lasting == nil {
		c.lasting = map[*Target]time.Time{}
	}
	c.lasting[of] = until
}

// handOver ends the work for the key, after drain has refused any more and ended what
// only prepares some, in the order that keeps it single: wait for what is in flight,
// cut off what does not end, release the fence.
func (c *cluster) handOver(ctx context.Context, idle <-chan struct{}, stop context.CancelFunc) error {
	c.await(idle)
	c.cut()
	<-idle
	stop()
	<-c.stopped
	err := c.fence.release(context.WithoutCancel(ctx))
	c.disconnect(ErrNotConnected)
	if err != nil {
		return fmt.Errorf("release target %s: %w", c.key, err)
	}
	return nil
}
