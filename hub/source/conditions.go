package source

import (
	"errors"
	"fmt"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/headwater-dev/headwater/internal/reconcile"
)

// The conditions of sources. ArtifactInStorage is there while it is true;
// ArtifactOutdated, FetchFailed, BuildFailed, IncludeUnavailable and
// StorageOperationFailed are abnormal and there only while they are true;
// SourceVerified is there while the spec asks for signatures. An error gets its
// reason here, once.

const (
	artifactInStorageCondition      = "ArtifactInStorage"
	artifactOutdatedCondition       = "ArtifactOutdated"
	fetchFailedCondition            = "FetchFailed"
	buildFailedCondition            = "BuildFailed"
	includeUnavailableCondition     = "IncludeUnavailable"
	sourceVerifiedCondition         = "SourceVerified"
	storageOperationFailedCondition = "StorageOperationFailed"
)

const (
	newRevisionReason             = "NewRevision"
	readOperationFailedReason     = "ReadOperationFailed"
	directoryCreationFailedReason = "DirectoryCreationFailed"
	archiveOperationFailedReason  = "ArchiveOperationFailed"
	sourceIgnoreErrorReason       = "SourceIgnoreError"
	garbageCollectionFailedReason = "GarbageCollectionFailed"
)

// stored says that all is well.
func stored(obj reconcile.Object, reason, message string) {
	setTrue(obj, artifactInStorageCondition, reason, message)
	clearConditions(obj, artifactOutdatedCondition, fetchFailedCondition, buildFailedCondition, includeUnavailableCondition, storageOperationFailedCondition)
}

// fetched says that the remote gave what was asked for.
func fetched(obj reconcile.Object) {
	clearConditions(obj, fetchFailedCondition, buildFailedCondition, includeUnavailableCondition)
}

// lost says that the artifact is not in the store.
func lost(obj reconcile.Object) {
	clearConditions(obj, artifactInStorageCondition)
}

// outdated says that there is something newer than the artifact.
func outdated(obj reconcile.Object, rev Revision) {
	setTrue(obj, artifactOutdatedCondition, newRevisionReason, fmt.Sprintf("new upstream revision '%s'", rev.Name))
}

// fetchFailed notes that the remote could not be resolved or fetched, or what
// else the error says it is about. What only a person can help passes as it is.
func fetchFailed(obj reconcile.Object, err error) error {
	about, status := fetchFailedCondition, metav1.ConditionTrue
	var p *part
	if errors.As(err, &p) {
		about = p.condition
	}
	if about == sourceVerifiedCondition {
		status = metav1.ConditionFalse
	}
	reason, retried := reconcile.ReasonOf(err)
	for _, kind := range []string{fetchFailedCondition, buildFailedCondition, includeUnavailableCondition} {
		if kind != about || !retried {
			clearConditions(obj, kind)
		}
	}
	if retried {
		setCondition(obj, about, status, reason, err.Error())
	} else if about == sourceVerifiedCondition {
		clearConditions(obj, about)
	}
	return err
}

// storageFailed notes that the store failed.
func storageFailed(obj reconcile.Object, reason string, err error) error {
	setTrue(obj, storageOperationFailedCondition, reason, err.Error())
	return reconcile.Fail(reason, err)
}

func setTrue(obj reconcile.Object, kind, reason, message string) {
	setCondition(obj, kind, metav1.ConditionTrue, reason, message)
}

func setCondition(obj reconcile.Object, kind string, status metav1.ConditionStatus, reason, message string) {
	apimeta.SetStatusCondition(&obj.CommonStatus().Conditions, metav1.Condition{
		Type:               kind,
		Status:             status,
		Reason:             reason,
		Message:            reconcile.Message(message),
		ObservedGeneration: obj.GetGeneration(),
	})
}

func clearConditions(obj reconcile.Object, kinds ...string) {
	for _, kind := range kinds {
		apimeta.RemoveStatusCondition(&obj.CommonStatus().Conditions, kind)
	}
}
