package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	o := options{patience: 1}
	flag.BoolVar(&o.once, "once", false, "exit after the last scene instead of staying up")
	flag.StringVar(&o.root, "root", ".", "the repository's root: config/ is installed from there")
	flag.StringVar(&o.hubBinary, "hub", "bin/hub", "the hub's binary")
	flag.StringVar(&o.agentBinary, "agent", "bin/agent", "the agent's binary")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second Ctrl-C ends the demo at once; the kernel ends its children.
	context.AfterFunc(ctx, stop)
	if err := run(ctx, o, newScreen(os.Stdout)); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	once                         bool
	root, hubBinary, agentBinary string
	// patience shortens what scenes may take, for a test of their failure.
	patience float64
}

// run is the whole demo. It returns an error if anything failed.
func run(ctx context.Context, o options, screen *screen) error {
	w := &world{options: o, screen: screen}
	defer w.Close()
	if err := w.Open(ctx); err != nil {
		return stopped(ctx, err)
	}
	watching := w.Watch(ctx)
	err := w.Play(ctx)
	if err == nil && !o.once {
		err = w.stay(ctx)
	}
	watching.Stop()
	return stopped(ctx, err)
}

// stay says how to look around and waits for Ctrl-C.
func (w *world) stay(ctx context.Context) error {
	text, err := w.explore()
	if err != nil {
		return err
	}
	w.screen.Print(text)
	<-ctx.Done()
	return nil
}

// stopped tells a Ctrl-C from a failure.
func stopped(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("stopped before the end: %w", context.Cause(ctx))
	}
	return err
}
