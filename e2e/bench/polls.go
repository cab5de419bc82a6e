package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/headwater-dev/headwater/api/meta"
	sourcev1 "github.com/headwater-dev/headwater/api/source/v1"
	"github.com/headwater-dev/headwater/e2e/stack"
)

// hubCases are those of a hub alone, with sources and no targets.
func hubCases() map[string]func(context.Context, *world, io.Writer) error {
	return map[string]func(context.Context, *world, io.Writer) error{"polls": measurePolls, "pulls": measurePulls}
}

// runHub runs one of them.
func runHub(ctx context.Context, o options, measure func(context.Context, *world, io.Writer) error) error {
	w := &world{options: o}
	defer w.Close()
	if err := w.openHub(ctx); err != nil {
		return err
	}
	if err := measure(ctx, w, os.Stdout); err != nil {
		return fmt.Errorf("%w\n%s", err, w.product.Logs(logLines))
	}
	return nil
}

// openHub starts a hub with its default flags, and no agent.
func (w *world) openHub(ctx context.Context) error {
	var err error
	if w.dir, err = os.MkdirTemp("", "headwater-bench-*"); err != nil {
		return err
	}
	w.cleanup = append(w.cleanup, func() { _ = os.RemoveAll(w.dir) })
	if w.hubPlane, err = w.startControlPlane(ctx, "hub"); err != nil {
		return err
	}
	if err := w.makeClients(ctx); err != nil {
		return err
	}
	bin := filepath.Join(w.root, "bin")
	w.product, err = stack.New(ctx, w.hubPlane, stack.Options{
		Root: w.root, HubBinary: filepath.Join(bin, "hub"), AgentBinary: filepath.Join(bin, "agent"), Dir: w.dir,
	})
	if err != nil {
		return err
	}
	w.cleanup = append(w.cleanup, w.product.Stop)
	if w.metrics, err = freeAddress(ctx); err != nil {
		return err
	}
	hub, err := w.product.StartHub(ctx, "--metrics-addr="+w.metrics)
	if err != nil {
		return err
	}
	if w.pids, err = controlPlanePIDs("hub's", w.hubPlane); err != nil {
		return err
	}
	w.pids["hub"], w.pids["bench itself"] = hub.PID(), os.Getpid()
	return nil
}

func freeAddress(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

const (
	// polled objects of each kind have so short an interval that the hub has
	// time to look at each of them.
	polled       = 20
	pollInterval = time.Second
	pollDuration = 20 * time.Second
	warmUp       = 5 * time.Second // an artifact is read once more when it is older than 2 s
	pollFormat   = "%-16s %8v %16v %8v  %-16s %s\n"
)

// source is an object of one of the kinds.
type source interface {
	client.Object
	CommonStatus() *meta.Status
	GetArtifact() *meta.Artifact
}

// measurePolls has the hub look at sources of each kind that have nothing new.
func measurePolls(ctx context.Context, w *world, out io.Writer) error {
	remotes, err := startRemotes(ctx)
	if err != nil {
		return err
	}
	defer remotes.stop()
	// An index for the charts, which no interval looks at meanwhile.
	catalogue := &sourcev1.HelmRepository{
		ObjectMeta: metav1.ObjectMeta{Namespace: stack.Namespace, Name: "catalogue"},
		Spec:       sourcev1.HelmRepositorySpec{URL: remotes.helm, Interval: metav1.Duration{Duration: time.Hour}},
	}
	if err := w.hub.Create(ctx, catalogue); err != nil {
		return err
	}
	idle, err := w.poll(ctx, "", remotes)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d objects of each kind, with an interval of %s and artifacts of some %d MB; an idle hub takes %.1f ms CPU a second\n",
		polled, pollInterval, polledBytes/2_000_000, idle.cpu*1e3/idle.seconds)
	fmt.Fprintf(out, pollFormat, "kind", "polls", "hub CPU ms/poll", "writes", "API reads/poll", "remote requests/poll")
	for _, kind := range slices.Sorted(maps.Keys(polledKinds(remotes))) {
		p, err := w.pollKind(ctx, kind, remotes)
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		p.print(out, kind, idle)
	}
	return nil
}

// polledKinds make the i-th object of each kind.
func polledKinds(r *remotes) map[string]func(metav1.ObjectMeta, metav1.Duration) source {
	return map[string]func(metav1.ObjectMeta, metav1.Duration) source{
		sourcev1.GitRepositoryKind: func(name metav1.ObjectMeta, interval metav1.Duration) source {
			return &sourcev1.GitRepository{ObjectMeta: name, Spec: sourcev1.GitRepositorySpec{
				URL: r.git, Interval: interval, Reference: &sourcev1.GitRepositoryRef{Branch: "main"},
			}}
		},
		sourcev1.OCIRepositoryKind: func(name metav1.ObjectMeta, interval metav1.Duration) source {
			return &sourcev1.OCIRepository{ObjectMeta: name, Spec: sourcev1.OCIRepositorySpec{URL: r.oci, Interval: interval, Insecure: true}}
		},
		sourcev1.BucketKind: func(name metav1.ObjectMeta, interval metav1.Duration) source {
			return &sourcev1.Bucket{ObjectMeta: name, Spec: sourcev1.BucketSpec{
				Endpoint: r.s3, BucketName: bucketName, Region: "us-east-1", Interval: interval, Insecure: true,
			}}
		},
		sourcev1.HelmRepositoryKind: func(name metav1.ObjectMeta, interval metav1.Duration) source {
			return &sourcev1.HelmRepository{ObjectMeta: name, Spec: sourcev1.HelmRepositorySpec{URL: r.helm, Interval: interval}}
		},
		sourcev1.HelmChartKind: func(name metav1.ObjectMeta, interval metav1.Duration) source {
			return &sourcev1.HelmChart{ObjectMeta: name, Spec: sourcev1.HelmChartSpec{
				Chart: chartName, Version: ">=1.0.0", Interval: interval,
				SourceRef: sourcev1.LocalHelmChartSourceReference{Kind: sourcev1.HelmRepositoryKind, Name: "catalogue"},
			}}
		},
	}
}

// pollKind makes the objects, has them polled, and removes them.
func (w *world) pollKind(ctx context.Context, kind string, r *remotes) (polls, error) {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	var all []source
	for i := range polled {
		name := metav1.ObjectMeta{Namespace: stack.Namespace, Name: fmt.Sprintf("polled-%02d", i)}
		all = append(all, polledKinds(r)[kind](name, metav1.Duration{Duration: pollInterval}))
	}
	if err := each(ctx, all, func(ctx context.Context, s source) error { return w.hub.Create(ctx, s) }); err != nil {
		return polls{}, err
	}
	if err := each(ctx, all, w.awaitReady); err != nil {
		return polls{}, err
	}
	if err := pause(ctx, warmUp); err != nil {
		return polls{}, err
	}
	p, err := w.poll(ctx, kind, r)
	if err != nil {
		return p, err
	}
	if err := each(ctx, all, func(ctx context.Context, s source) error { return w.hub.Delete(ctx, s) }); err != nil {
		return p, err
	}
	return p, each(ctx, all, w.awaitGone)
}

func each(ctx context.Context, all []source, do func(context.Context, source) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, s := range all {
		group.Go(func() error { return do(ctx, s) })
	}
	return group.Wait()
}

func (w *world) awaitReady(ctx context.Context, s source) error {
	return wait.PollUntilContextCancel(ctx, lookInterval, true, func(ctx context.Context) (bool, error) {
		err := w.hub.Get(ctx, client.ObjectKeyFromObject(s), s)
		return apimeta.IsStatusConditionTrue(s.CommonStatus().Conditions, meta.ReadyCondition), err
	})
}

func (w *world) awaitGone(ctx context.Context, s source) error {
	return wait.PollUntilContextCancel(ctx, lookInterval, true, func(ctx context.Context) (bool, error) {
		err := w.hub.Get(ctx, client.ObjectKeyFromObject(s), s)
		return client.IgnoreNotFound(err) == nil && err != nil, client.IgnoreNotFound(err)
	})
}

// pause is the time for which something is measured.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// polls is what they cost.
type polls struct {
	count        float64
	seconds, cpu float64
	remote       map[string]int
	api          map[string]float64
}

// poll measures for a while.
func (w *world) poll(ctx context.Context, kind string, r *remotes) (polls, error) {
	before, err := w.runs(ctx, kind)
	if err != nil {
		return polls{}, err
	}
	r.count.take()
	m, err := w.measure(ctx, func(ctx context.Context) error { return pause(ctx, pollDuration) })
	if err != nil {
		return polls{}, err
	}
	p := polls{seconds: m.seconds, cpu: m.cpu["hub"], remote: r.count.take(), api: m.requests}
	after, err := w.runs(ctx, kind)
	p.count = after - before
	return p, err
}

// print writes a line of the table. What the hub takes when it is idle is left out.
func (p polls) print(out io.Writer, kind string, idle polls) {
	var remote, reads []string
	writes := 0.0
	for _, method := range sortedKeys(p.remote) {
		remote = append(remote, fmt.Sprintf("%s %.2f", method, float64(p.remote[method])/p.count))
	}
	for _, what := range sortedKeys(p.api) {
		switch _, verb, _ := strings.Cut(what, " "); verb {
		case "GET":
			reads = append(reads, fmt.Sprintf("%.2f", p.api[what]/p.count))
		case "PATCH", "PUT", "POST", "APPLY", "DELETE":
			writes += p.api[what]
		}
	}
	cpu := (p.cpu - idle.cpu/idle.seconds*p.seconds) * 1e3 / p.count
	fmt.Fprintf(out, pollFormat, kind, p.count, fmt.Sprintf("%.2f", cpu), writes, strings.Join(reads, ""), strings.Join(remote, ", "))
}
