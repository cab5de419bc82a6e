// Package remote holds the agent's connections to the clusters that it applies
// to, one for each key that the agent owns.
//
// One loop for each key dials, probes and closes the connection; everybody else
// asks Open, which answers at once with a Target or with the reason why there
// is none. No lock is held over I/O. All users of a key share one transport, one
// REST mapper and one fence.
//
// It promises that no write reaches a target unless this process holds the
// target's fence (DESIGN §4): every mutating request passes the gate, which is
// the innermost round tripper of the only transport to the target. A key that is
// taken away is handed over: new work is refused, the work in flight is waited
// for, and only then is the fence released.
//
// It never runs a kubeconfig's exec plugin or reads a file that a kubeconfig
// names, and it never writes to a Secret.
package remote
