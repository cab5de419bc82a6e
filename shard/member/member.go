package member

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/headwater-dev/headwater/shard"
)

const (
	// Label with the value true marks the Leases of members.
	Label = "fleet.headwater.dev/member"

	leasePrefix     = "headwater-agent-"
	defaultDuration = 15 * time.Second
	// renewals is how many times a Lease is renewed while it lasts.
	renewals = 3
	// releaseTimeout is how long a process that stops tries to say so.
	releaseTimeout = 5 * time.Second
)

// Member keeps the membership Lease of this process: it joins when it starts,
// renews, and leaves when its context ends. It runs on every replica.
type Member struct {
	// Client writes the Lease; the manager's when nil.
	Client client.Client
	// Live reads it past any cache; the manager's when nil.
	Live client.Reader
	// Namespace of the agents.
	Namespace string
	// Name of the agent, the same after a restart.
	Name string
	// ID of this process, different for each.
	ID string
	// Labels of the agent. They are put on the Lease.
	Labels map[string]string
	// Duration is how long a renewal lasts; 15 s when zero.
	Duration time.Duration
	// RenewEvery is the time between two renewals; a third of Duration when
	// zero.
	RenewEvery time.Duration
	// Meter measures what the agent's keys cost it; its reports are put on the
	// Lease. May be nil.
	Meter *Meter
	// Clock is the real one when nil.
	Clock clock.Clock

	// lease is the Lease as this process wrote it last; nil while it does not
	// hold it.
	lease *coordinationv1.Lease
	// joined says that this process has held the Lease once.
	joined bool
	// rival watches the Lease while another process holds it.
	rival Tracker
}

// AddToManager sets the defaults and starts the member with the manager.
func (m *Member) AddToManager(mgr ctrl.Manager) error {
	if m.Client == nil {
		m.Client, m.Live = mgr.GetClient(), mgr.GetAPIReader()
	}
	if m.Clock == nil {
		m.Clock = clock.RealClock{}
	}
	if m.Duration == 0 {
		m.Duration = defaultDuration
	}
	if m.RenewEvery == 0 {
		m.RenewEvery = m.Duration / renewals
	}
	if m.Name == "" || m.ID == "" || m.Namespace == "" {
		return errors.New("a member needs a name, an id and a namespace")
	}
	return mgr.Add(m)
}

// NeedLeaderElection is false: every agent is a member.
func (m *Member) NeedLeaderElection() bool { return false }

// Start joins and renews until the context ends, and then leaves. It reports
// what goes wrong to the log and tries again: an agent that cannot reach the
// hub goes on with what it has.
func (m *Member) Start(ctx context.Context) error {
	logger := log.FromContext(ctx).WithName("member").WithValues("agent", m.Name)
	for {
		if err := m.renew(ctx); err != nil && ctx.Err() == nil {
			logger.Error(err, "membership not renewed")
		}
		timer := m.Clock.NewTimer(m.RenewEvery)
		select {
		case <-timer.C():
		case <-ctx.Done():
			timer.Stop()
			if err := m.leave(context.WithoutCancel(ctx)); err != nil {
				logger.Error(err, "membership not released: it expires")
			}
			return nil
		}
	}
}

// renew writes the Lease, if this process holds it or may take it.
func (m *Member) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, m.RenewEvery)
	defer cancel()
	if m.lease == nil {
		if err := m.look(ctx); err != nil || m.lease == nil {
			return err
		}
	}
	err := m.write(ctx, m.ID)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) || apierrors.IsAlreadyExists(err) {
		// Somebody else wrote, deleted or made it: look again at once.
		if err := m.look(ctx); err != nil || m.lease == nil {
			return err
		}
		return m.write(ctx, m.ID)
	}
	return err
}

// look reads the Lease and decides whether to hold it. A process that has just
// started takes it in any case: it is the successor of the one that held it. A
// process that finds itself replaced stands back until its successor is away,
// so that two of one name do not take it from each other for ever.
func (m *Member) look(ctx context.Context) error {
	held := m.lease != nil
	m.lease = nil
	var found coordinationv1.Lease
	err := m.Live.Get(ctx, client.ObjectKey{Namespace: m.Namespace, Name: leasePrefix + m.Name}, &found)
	switch {
	case apierrors.IsNotFound(err):
		m.lease = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: m.Namespace, Name: leasePrefix + m.Name}}
		return nil
	case err != nil:
		return fmt.Errorf("read the membership Lease of %s: %w", m.Name, err)
	}
	if m.joined && holder(&found) != m.ID && m.alive(&found) {
		if held {
			log.FromContext(ctx).Info("another process has joined under the name of this agent", "agent", m.Name, "process", holder(&found))
		}
		return nil
	}
	m.lease = &found
	return nil
}

// alive says whether the holder of the Lease, as this process has watched it,
// renews it.
func (m *Member) alive(lease *coordinationv1.Lease) bool {
	now := m.Clock.Now()
	m.rival.Duration, m.rival.Namespace = m.Duration, m.Namespace
	m.rival.Sync([]coordinationv1.Lease{*lease}, now)
	for _, agent := range m.rival.Agents() {
		if state, _ := agent.Lease.State(now, 0); state == shard.Alive {
			return true
		}
	}
	return false
}

// write renews the Lease for the holder, or releases it when that is empty.
func (m *Member) write(ctx context.Context, by string) error {
	lease, now := m.lease.DeepCopy(), metav1.NewMicroTime(m.Clock.Now())
	lease.Labels = map[string]string{}
	maps.Copy(lease.Labels, m.Labels)
	lease.Labels[Label] = "true"
	if report := m.Meter.report(); report != "" {
		lease.Annotations = map[string]string{costsAnnotation: report}
	}
	if by != "" && holder(lease) != by {
		lease.Spec.AcquireTime = &now
	}
	lease.Spec.HolderIdentity = nil
	if by != "" {
		lease.Spec.HolderIdentity = &by
	}
	seconds := int32(max(m.Duration.Round(time.Second).Seconds(), 1))
	lease.Spec.LeaseDurationSeconds, lease.Spec.RenewTime = &seconds, &now
	write := func() error { return m.Client.Update(ctx, lease) }
	if lease.ResourceVersion == "" {
		write = func() error { return m.Client.Create(ctx, lease) }
	}
	if err := write(); err != nil {
		return fmt.Errorf("write the membership Lease of %s: %w", m.Name, err)
	}
	m.lease, m.joined = lease, true
	return nil
}

// leave says that the process stops in an orderly way: its agent is expected
// back soon.
func (m *Member) leave(ctx context.Context) error {
	if m.lease == nil || !m.joined {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	return m.write(ctx, "")
}

func holder(lease *coordinationv1.Lease) string {
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}
