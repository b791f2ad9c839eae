package api

// aliases are the names that Otto's ancestors gave an event, so that what listened to them can listen to Otto: those of
// Velocity in capitals, then those of the first Otto, then those of Conveyor. Tasks that no agent was ever given have
// no TASK_ names: nobody did anything.
func aliases(kind string, attempt int) []string {
	if len(kind) > 5 && kind[:5] == "task." && attempt == 0 {
		return earlyTaskAliases(kind)
	}
	switch kind {
	case "run.created":
		return []string{"build:new", "Pending", "create"}
	case "run.planned":
		return []string{"pipelines.pipeline.init"}
	case "run.started":
		return []string{"BUILD_START"}
	case "run.aborting":
		return []string{"TerminatePipeline"}
	case "run.succeeded":
		return []string{"BUILD_SUCCESS", "Pipeline Complete(Successful)", "done"}
	case "run.failed":
		return []string{"BUILD_FAIL", "Pipeline Complete(Failed)", "failed"}
	case "run.aborted":
		return []string{"BUILD_ABORT", "Pipeline Complete(Aborted)", "stopped"}
	case "run.unstable":
		return []string{"BUILD_UNSTABLE", "Pipeline Complete(Unstable)"}
	case "run.skipped":
		return []string{"BUILD_SKIP", "Pipeline Complete(Skipped)"}
	case "run.completed":
		return []string{"BUILD_COMPLETE", "Pipeline Complete", "complete"}
	case "stage.started":
		return []string{"Batch"}
	case "stage.completed":
		return []string{"Batch Complete"}
	case "agent.online":
		return []string{"builder-ready", "consumer"}
	case "auction.started":
		return []string{"Auction Started", "tasks.auction"}
	case "bid.received":
		return []string{"tasks.bids"}
	case "auction.completed":
		return []string{"Auction Completed"}
	case "award.granted":
		return []string{"inbox"}
	case "project.created":
		return []string{"project_created"}
	}
	if found := taskAliases(kind); found != nil {
		return found
	}
	return stepAliases(kind)
}

// earlyTaskAliases are those of tasks before their first attempt.
func earlyTaskAliases(kind string) []string {
	if kind == "task.ready" {
		return []string{"ready", "tasks.for_auction", "drivers"}
	}
	return nil
}

func taskAliases(kind string) []string {
	switch kind {
	case "task.ready":
		return earlyTaskAliases(kind)
	case "task.scheduled":
		return []string{"scheduled", "job-do-task"}
	case "task.provisioning":
		return []string{"Provisioning"}
	case "task.started":
		return []string{"TASK_START", "tasks.started", "Execution Running"}
	case "task.interrupted", "task.requeued", "task.retrying":
		return []string{"ready", "Nak"}
	case "task.succeeded":
		return []string{"TASK_SUCCESS", "Execution Success", "driver.result success=true"}
	case "task.failed":
		return []string{"TASK_FAIL", "Execution Failed", "driver.result success=false"}
	case "task.aborted":
		return []string{"TASK_ABORT", "Aborted"}
	case "task.unstable":
		return []string{"TASK_UNSTABLE", "Unstable"}
	case "task.completed":
		return []string{"TASK_COMPLETE", "tasks.finished", "pipelines.driver.result"}
	}
	return nil
}

func stepAliases(kind string) []string {
	switch kind {
	case "step.started":
		return []string{"STEP_START", "StepStart"}
	case "step.succeeded":
		return []string{"STEP_SUCCESS"}
	case "step.failed":
		return []string{"STEP_FAIL"}
	case "step.completed":
		return []string{"STEP_COMPLETE", "StepEnd"}
	}
	return nil
}
