package helm

import "time"

// Conditions of HelmReleases beside the common ones.
const (
	releasedCondition    = "Released"
	testSuccessCondition = "TestSuccess"
	remediatedCondition  = "Remediated"
	driftedCondition     = "Drifted"
)

// Reasons of HelmReleases, which are Flux's.
const (
	installSucceededReason   = "InstallSucceeded"
	installFailedReason      = "InstallFailed"
	upgradeSucceededReason   = "UpgradeSucceeded"
	upgradeFailedReason      = "UpgradeFailed"
	testSucceededReason      = "TestSucceeded"
	testFailedReason         = "TestFailed"
	rollbackSucceededReason  = "RollbackSucceeded"
	rollbackFailedReason     = "RollbackFailed"
	uninstallSucceededReason = "UninstallSucceeded"
	uninstallFailedReason    = "UninstallFailed"
	driftDetectedReason      = "DriftDetected"
	noDriftReason            = "NoDriftDetected"
	sourceNotReadyReason     = "SourceNotReady"
	valuesReason             = "ValuesError"
	chartMutateReason        = "ChartMutateError"
	clientReason             = "RESTClientError"
	stateReason              = "StateError"
	pendingReason            = "PendingRelease"
	retriesExceededReason    = "RetriesExceeded"
	noRollbackTargetReason   = "MissingRollbackTarget"
	driftCorrectedReason     = "DriftCorrected"
	chartCreatedReason       = "HelmChartCreated"
	chartConfiguredReason    = "HelmChartConfigured"
	chartDeletedReason       = "HelmChartDeleted"
	chartSyncReason          = "HelmChartSyncErr"
	inventoryReason          = "InventoryBuildFailed"
)

const (
	// sourceRetry is how soon a source whose artifact is gone is looked at again,
	// should its change not wake us.
	sourceRetry = 30 * time.Second
	// lateWake is how long after the time limit of an action its HelmRelease is
	// looked at again, should its end not wake us.
	lateWake = time.Minute
)
