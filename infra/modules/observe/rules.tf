# What is an alert. The first ones are those of infra/monitoring/rules.yml, by the same names, on the same
# metrics of the host; a test compares the two lists. Counts come as what was added since the last minute.
locals {
  severities = { high = 1, medium = 2 }

  by_runner    = "AppRoleInstance, detector = tostring(Properties.detector), partition = tostring(Properties.partition)"
  by_detector  = "AppRoleInstance, detector = tostring(Properties.detector)"
  by_sink      = "AppRoleInstance, sink = tostring(Properties.sink)"
  latest       = "summarize arg_max(TimeGenerated, Sum) by Name, ${local.by_runner}"
  runbook_page = "docs/operations.md"

  # A row of the answer is a thing to be told of.
  host_rules = {
    TwingeNoCheckpoint = {
      severity = "high", window = "PT15M", periods = 2
      summary  = "events are scored and no checkpoint is taken"
      query    = <<-KQL
        AppMetrics
        | where Name in ('twinge_events_total', 'twinge_checkpoints_total')
        | summarize events = sumif(Sum, Name == 'twinge_events_total'), checkpoints = sumif(Sum, Name == 'twinge_checkpoints_total') by ${local.by_runner}
        | where events > 0 and checkpoints == 0
      KQL
    }
    TwingeDeadLetters = {
      severity = "medium", window = "PT5M", periods = 2
      summary  = "more than 5 % of the events cannot be scored"
      query    = <<-KQL
        AppMetrics
        | where Name in ('twinge_events_total', 'twinge_dead_letters_total')
        | summarize events = sumif(Sum, Name == 'twinge_events_total'), dead = sumif(Sum, Name == 'twinge_dead_letters_total') by ${local.by_detector}
        | where events > 0 and dead / events > 0.05
      KQL
    }
    TwingeLagGrows = {
      severity = "medium", window = "PT15M", periods = 1
      summary  = "events wait for more than a minute, and longer and longer"
      query    = <<-KQL
        AppMetrics
        | where Name == 'twinge_lag_seconds'
        | summarize lag = avgif(Sum, TimeGenerated > ago(5m)), before = avgif(Sum, TimeGenerated <= ago(5m)) by ${local.by_runner}
        | where lag > 60 and lag > before
      KQL
    }
    TwingeMissedDeadlines = {
      severity = "medium", window = "PT10M", periods = 1
      summary  = "calls of a module take too long"
      query    = <<-KQL
        AppMetrics
        | where Name == 'twinge_missed_deadlines_total'
        | summarize missed = sum(Sum) by ${local.by_detector}
        | where missed > 0
      KQL
    }
    TwingeModuleReturned = {
      severity = "high", window = "PT15M", periods = 1
      summary  = "a module was bad and was left for the one beside it"
      query    = <<-KQL
        AppMetrics
        | where Name == 'twinge_returns_total'
        | summarize returns = sum(Sum) by ${local.by_detector}
        | where returns > 0
      KQL
    }
    TwingeSilentEntities = {
      severity = "medium", window = "PT5M", periods = 1
      summary  = "entities stopped sending"
      query    = <<-KQL
        AppMetrics
        | where Name == 'twinge_silent_entities'
        | ${local.latest}
        | where Sum > 0
      KQL
    }
    TwingeSinkFails = {
      severity = "high", window = "PT5M", periods = 1
      summary  = "records cannot be written"
      query    = <<-KQL
        AppMetrics
        | where Name == 'twinge_sink_failures_total'
        | summarize failures = sum(Sum) by ${local.by_detector}
        | where failures > 3
      KQL
    }
    TwingeAlertsNotSent = {
      severity = "high", window = "PT10M", periods = 1
      summary  = "alerts of a host do not reach whom they are for"
      query    = <<-KQL
        AppMetrics
        | where Name == 'twinge_alert_failures_total'
        | summarize failures = sum(Sum) by ${local.by_sink}
        | where failures > 3
      KQL
    }
    TwingeAlertsDropped = {
      severity = "high", window = "PT10M", periods = 1
      summary  = "alerts of a host were given up"
      query    = <<-KQL
        AppMetrics
        | where Name == 'twinge_alerts_dropped_total'
        | summarize dropped = sum(Sum) by ${local.by_sink}
        | where dropped > 0
      KQL
    }
    TwingeDrift = {
      severity = "medium", window = "PT5M", periods = 3
      summary  = "what a detector learned is not so any more"
      query    = <<-KQL
        AppMetrics
        | where Name == 'twinge_drift_active'
        | ${local.latest}
        | where Sum > 0
      KQL
    }
    TwingeDriftAlarms = {
      severity = "medium", window = "PT1H", periods = 1
      summary  = "a detector drifts again and again"
      query    = <<-KQL
        AppMetrics
        | where Name == 'twinge_drift_alarms_total'
        | summarize alarms = sum(Sum) by ${local.by_detector}
        | where alarms > 3
      KQL
    }
  }

  # Nothing at all is a row as well.
  absent_rules = var.always_runs ? {
    TwingeAbsent = {
      severity = "high", window = "PT5M", periods = 2
      summary  = "no host tells how many events it took"
      query    = <<-KQL
        AppMetrics
        | where Name == 'twinge_events_total'
        | summarize told = count()
        | where told == 0
      KQL
    }
  } : {}

  job_rules = {
    JobFailed = {
      severity = "medium", window = "PT15M", periods = 1
      summary  = "a job failed: a retraining whose gates refused it, or keeping the lake"
      query    = <<-KQL
        ContainerAppSystemLogs
        | extend reason = column_ifexists('Reason', ''), job = column_ifexists('JobName', '')
        | where isnotempty(job) and reason in ('BackoffLimitExceeded', 'DeadlineExceeded')
        | summarize failures = count() by job
      KQL
    }
  }

  log_rules = merge(local.host_rules, local.absent_rules, local.job_rules)

  metric_rules = merge(
    {
      EventHubsThrottled = {
        scope = var.namespace_id, of = "Microsoft.EventHub/namespaces", metric = "ThrottledRequests"
        what  = "Total", is = "GreaterThan", than = 0, window = "PT5M", severity = "high"
        text  = "Event Hubs turns events away: raise throughput_units.most"
      }
      EventHubsNearlyFull = {
        scope = var.namespace_id, of = "Microsoft.EventHub/namespaces", metric = "IncomingBytes"
        what  = "Total", is = "GreaterThan", than = floor(0.8 * var.throughput_units_most * 1048576 * 300), window = "PT5M", severity = "medium"
        text  = "events fill more than four fifths of what all throughput units take"
      }
      EventHubsErrors = {
        scope = var.namespace_id, of = "Microsoft.EventHub/namespaces", metric = "ServerErrors"
        what  = "Total", is = "GreaterThan", than = 10, window = "PT5M", severity = "medium"
        text  = "Event Hubs itself fails: look at Azure's status"
      }
      VaultAway = {
        scope = var.vault_id, of = "Microsoft.KeyVault/vaults", metric = "Availability"
        what  = "Average", is = "LessThan", than = 99, window = "PT15M", severity = "medium"
        text  = "the vault does not answer: retrainings cannot start"
      }
    },
    {
      for kind in keys(var.storage_account_ids) : "StorageAway-${kind}" => {
        scope = var.storage_account_ids[kind], of = "Microsoft.Storage/storageAccounts", metric = "Availability"
        what  = "Average", is = "LessThan", than = 99, window = "PT15M", severity = "high"
        text  = "the account ${kind} does not answer"
      }
    },
    length(var.host_ids) == 0 ? {} : {
      TwingeRestarts = {
        scope = one(var.host_ids), of = "Microsoft.App/containerapps", metric = "RestartCount"
        what  = "Total", is = "GreaterThan", than = 2, window = "PT15M", severity = "high"
        text  = "a host started more than twice in a quarter of an hour"
      }
      HostsAtMost = {
        scope = one(var.host_ids), of = "Microsoft.App/containerapps", metric = "Replicas"
        what  = "Minimum", is = "GreaterThanOrEqual", than = var.replicas_most, window = "PT30M", severity = "medium"
        text  = "for half an hour there were as many hosts as there may be: raise host.replicas_most, up to the partitions"
      }
    },
  )
}

resource "azurerm_monitor_scheduled_query_rules_alert_v2" "all" {
  for_each = local.log_rules

  name                    = "${var.base_name}-${each.key}"
  display_name            = each.key
  description             = "${each.value.summary} (${local.runbook_page}#${lower(each.key)})"
  resource_group_name     = var.resource_group_name
  location                = var.location
  scopes                  = [azurerm_log_analytics_workspace.this.id]
  severity                = local.severities[each.value.severity]
  evaluation_frequency    = each.value.window == "PT1H" ? "PT15M" : "PT5M"
  window_duration         = each.value.window
  auto_mitigation_enabled = true
  # Tables come to be with their first row.
  skip_query_validation = true
  tags                  = var.tags

  criteria {
    query                   = each.value.query
    time_aggregation_method = "Count"
    operator                = "GreaterThan"
    threshold               = 0

    failing_periods {
      minimum_failing_periods_to_trigger_alert = each.value.periods
      number_of_evaluation_periods             = each.value.periods
    }
  }

  action {
    action_groups = concat([azurerm_monitor_action_group.people.id], each.key == "TwingeDrift" ? var.retrain_action_group_ids : [])
  }
}

resource "azurerm_monitor_metric_alert" "all" {
  for_each = local.metric_rules

  name                = "${var.base_name}-${each.key}"
  description         = each.value.text
  resource_group_name = var.resource_group_name
  scopes              = [each.value.scope]
  severity            = local.severities[each.value.severity]
  frequency           = "PT5M"
  window_size         = each.value.window
  auto_mitigate       = true
  tags                = var.tags

  criteria {
    metric_namespace       = each.value.of
    metric_name            = each.value.metric
    aggregation            = each.value.what
    operator               = each.value.is
    threshold              = each.value.than
    skip_metric_validation = true
  }

  action {
    action_group_id = azurerm_monitor_action_group.people.id
  }
}
