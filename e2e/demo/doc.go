// Command demo shows Headwater at work on one machine: a hub and two agents as
// separate processes, a hub API server and three remote ones, a Git server and
// a registry, all real and on loopback.
//
// It deploys a small repository to the three clusters and then plays six
// scenes, each timed: a commit, a hand edit, a removal, an agent that is
// killed, its return, and a new image that becomes a commit. A scene is judged by what an administrator reads from
// the target clusters themselves, their objects and the fence Leases in them,
// never by the status that Headwater writes.
//
// It promises to leave nothing behind, neither processes nor files, however it
// ends, and to end with a status other than zero if a scene failed. It never
// gives the hub or an agent more rights than config/rbac does, nor more on a
// target than the repository needs.
package main
