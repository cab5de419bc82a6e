// Package testenv runs the real things that tests, the demo and the benchmark
// stand on: Kubernetes control planes, a Git server, and what a cluster needs
// around them.
//
//   - ControlPlane: etcd, kube-apiserver and, if asked for,
//     kube-controller-manager, from the binary that `make controlplane` builds,
//     with TLS, RBAC and ServiceAccount tokens as in production.
//   - Kubelet: plays the node. Pods become ready, crash or hang as their
//     annotations say.
//   - Proxy: stands in front of one API server, records who did what and when,
//     and plays a bad network.
//   - GitServer: `git http-backend` behind net/http.
//   - Process: a child process that cannot outlive its parent.
//
// It promises that
//   - nothing is left running when the parent ends, however it ends: a child
//     is killed by the kernel when the thread that made it dies, and that
//     thread lives exactly as long as the child (see Process);
//   - any number of environments run beside each other: ports are chosen by
//     the kernel and stay reserved while a part is down;
//   - directories are removed on Stop, and those of killed processes by the
//     next Start.
//
// It never needs a network beyond loopback, never weakens TLS or RBAC to make
// a test easier, and never fakes an API server: what passes here has met the
// real one.
//
// Only the functions that take a testing.TB are for tests alone. It runs on
// Linux: the parent-death signal and /proc have no like elsewhere.
package testenv
