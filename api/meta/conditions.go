package meta

// Condition types that all kinds share.
const (
	// ReadyCondition sums up the object: True when the newest spec and
	// revision are in force.
	ReadyCondition = "Ready"
	// ReconcilingCondition is True while work is going on or being retried,
	// and absent otherwise.
	ReconcilingCondition = "Reconciling"
	// StalledCondition is True when only a person can help, and absent
	// otherwise.
	StalledCondition = "Stalled"
	// SuspendedCondition is True while spec.suspend holds, and absent
	// otherwise.
	SuspendedCondition = "Suspended"
	// HealthyCondition says whether what was applied is healthy. It is absent
	// where no health check is asked for.
	HealthyCondition = "Healthy"
)

// Reasons that all kinds share.
const (
	SucceededReason            = "Succeeded"
	FailedReason               = "Failed"
	SuspendedReason            = "Suspended"
	ProgressingReason          = "Progressing"
	ProgressingWithRetryReason = "ProgressingWithRetry"
	DependencyNotReadyReason   = "DependencyNotReady"
	AccessDeniedReason         = "AccessDenied"
	// InvalidCELExpressionReason stalls an object with an expression that does
	// not compile.
	InvalidCELExpressionReason = "InvalidCELExpression"
	// FeatureGateDisabledReason stalls an object that asks for what an
	// administrator has not turned on.
	FeatureGateDisabledReason = "FeatureGateDisabled"
	// UnsupportedFieldReason stalls an object that sets a field which this
	// version does not implement.
	UnsupportedFieldReason = "UnsupportedField"
	// AuthenticationFailedReason is for remotes that refuse the credentials,
	// and for credentials that cannot be read.
	AuthenticationFailedReason = "AuthenticationFailed"
)

// Reasons of the appliers (Kustomization, HelmRelease).
const (
	ReconciliationSucceededReason = "ReconciliationSucceeded"
	ReconciliationFailedReason    = "ReconciliationFailed"
	ArtifactFailedReason          = "ArtifactFailed"
	BuildFailedReason             = "BuildFailed"
	PruneFailedReason             = "PruneFailed"
	HealthCheckFailedReason       = "HealthCheckFailed"
	// TargetUnreachableReason says that the target cluster does not answer.
	TargetUnreachableReason = "TargetUnreachable"
	// KubeConfigInvalidReason says that the kubeconfig of the target is
	// missing, does not parse, or is refused.
	KubeConfigInvalidReason = "KubeConfigInvalid"
	// FenceHeldReason says that the fence of the target is still held by
	// another agent.
	FenceHeldReason = "FenceHeld"
	// OwnershipConflictReason says that another Kustomization manages one of
	// the objects.
	OwnershipConflictReason = "OwnershipConflict"
	// DriftContestedReason is of events about an object that somebody else
	// changes back as often as it is corrected.
	DriftContestedReason = "DriftContested"
)
