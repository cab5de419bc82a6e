// Package helm reconciles HelmReleases: it has the hub make the chart, composes
// the values, looks at what Helm's storage on the target has, decides what is
// done next (package state), and does it (package action).
//
// It promises that
//   - there is one action for a release at a time: it runs in a goroutine of its
//     own, holds no worker, and wakes the HelmRelease when it has ended;
//   - a target is not handed over before the goroutine has ended: it keeps its
//     unit of work, and an action that outlives the hand-over's deadline is cut
//     off at its next request;
//   - an action writes in one tenure of the fence: what begins in another is
//     begun anew, from what the storage says;
//   - what is about to be done is in the status before it is begun, so that a
//     successor knows whose half of a release it finds;
//   - the records are Helm's own, readable by its CLI, and what is done from
//     outside is noticed;
//   - a release that is as it is wanted costs its target no request, where that
//     may be watched;
//   - of two HelmReleases that claim one release, one leaves it alone.
//
// It never counts an interrupted action as a failure, and never undoes one.
package helm
