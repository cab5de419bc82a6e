package wake

import (
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	fleetv1 "github.com/headwater-dev/headwater/api/fleet/v1alpha1"
)

// ConnectionChanged passes clusters whose connection has come up or gone down:
// their objects say so, and go on where they were.
func ConnectionChanged() predicate.Predicate {
	connected := func(obj client.Object) bool {
		record, ok := obj.(*fleetv1.RemoteCluster)
		return ok && apimeta.IsStatusConditionTrue(record.Status.Conditions, fleetv1.ConnectedCondition)
	}
	return updates(func(before, after client.Object) bool { return connected(before) != connected(after) })
}

// BecameReady passes objects that others may go on after: those for which state
// says ready and did not, or says another revision than before.
func BecameReady(state func(client.Object) (ready bool, revision string)) predicate.Predicate {
	return updates(func(before, after client.Object) bool {
		was, old := state(before)
		is, current := state(after)
		return is && (!was || old != current)
	})
}

// ConfigChanged passes changes of the ConfigMaps and Secrets that the selector
// matches, and new ones.
func ConfigChanged(selector labels.Selector) predicate.Predicate {
	matches := func(obj client.Object) bool { return selector.Matches(labels.Set(obj.GetLabels())) }
	changes := updates(func(before, after client.Object) bool {
		return matches(after) && before.GetResourceVersion() != after.GetResourceVersion()
	})
	// At the start every object that reads one runs by itself.
	changes.CreateFunc = func(e event.CreateEvent) bool { return !e.IsInInitialList && matches(e.Object) }
	return changes
}

// updates passes only the updates that changed is true for: what is there at
// the start is looked at by all anyway, and nothing can be done after what is
// gone.
func updates(changed func(before, after client.Object) bool) predicate.Funcs {
	return predicate.Funcs{
		CreateFunc: func(event.CreateEvent) bool { return false },
		UpdateFunc: func(e event.UpdateEvent) bool { return changed(e.ObjectOld, e.ObjectNew) },
		DeleteFunc: func(event.DeleteEvent) bool { return false },
	}
}
