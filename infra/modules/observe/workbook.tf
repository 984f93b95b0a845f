# The picture of its health: what hosts do, what people are told, what waits.
locals {
  charts = [
    {
      title = "Events a minute, by detector"
      query = "AppMetrics | where Name == 'twinge_events_total' | summarize events = sum(Sum) by bin(TimeGenerated, 1m), detector = tostring(Properties.detector) | render timechart"
    },
    {
      title = "Verdicts a minute"
      query = "AppMetrics | where Name == 'twinge_verdicts_total' | summarize verdicts = sum(Sum) by bin(TimeGenerated, 1m), verdict = tostring(Properties.verdict) | render timechart"
    },
    {
      title = "Dead letters a minute, by reason"
      query = "AppMetrics | where Name == 'twinge_dead_letters_total' | summarize letters = sum(Sum) by bin(TimeGenerated, 1m), reason = tostring(Properties.reason) | render timechart"
    },
    {
      title = "Seconds that the last event waited, by partition"
      query = "AppMetrics | where Name == 'twinge_lag_seconds' | summarize lag = max(Sum) by bin(TimeGenerated, 1m), partition = tostring(Properties.partition) | render timechart"
    },
    {
      title = "Hosts that told something"
      query = "AppMetrics | where Name == 'twinge_events_total' | summarize hosts = dcount(AppRoleInstance) by bin(TimeGenerated, 5m) | render timechart"
    },
    {
      title = "Drifts, silent entities and open alerts"
      query = "AppMetrics | where Name in ('twinge_drift_active', 'twinge_silent_entities', 'twinge_alerts_open') | summarize many = max(Sum) by bin(TimeGenerated, 5m), Name | render timechart"
    },
    {
      title = "Checkpoints, missed deadlines, returns and failed writes in five minutes"
      query = "AppMetrics | where Name in ('twinge_checkpoints_total', 'twinge_missed_deadlines_total', 'twinge_returns_total', 'twinge_sink_failures_total') | summarize many = sum(Sum) by bin(TimeGenerated, 5m), Name | render timechart"
    },
    {
      title = "The latest errors"
      query = "ContainerAppConsoleLogs | extend said = parse_json(Log) | where tostring(said.level) == 'ERROR' | project TimeGenerated, ContainerAppName, JobName, message = tostring(said.fields.message), error = tostring(said.fields.error) | top 50 by TimeGenerated desc"
    },
  ]

  # Metrics that rules and charts name, which are those that the collector keeps.
  metrics = sort(distinct(flatten([
    for query in concat([for rule in values(merge(local.host_rules, { absent = { query = "twinge_events_total" } })) : rule.query], [for chart in local.charts : chart.query]) :
    regexall("twinge_[a-z_]+", query)
  ])))
}

resource "azurerm_application_insights_workbook" "this" {
  name                = uuidv5("url", "twinge/${var.base_name}/health")
  display_name        = "${var.base_name}: health"
  resource_group_name = var.resource_group_name
  location            = var.location
  source_id           = lower(azurerm_log_analytics_workspace.this.id)
  tags                = var.tags

  data_json = jsonencode({
    version             = "Notebook/1.0"
    fallbackResourceIds = [azurerm_log_analytics_workspace.this.id]
    items = concat(
      [{
        type    = 1
        name    = "head"
        content = { json = "## ${var.base_name}\nWhat each alert means and what to do: docs/alerts.md and docs/operations.md of the repository." }
      }],
      [for number, chart in local.charts : {
        type = 3
        name = "chart ${number}"
        content = {
          version                 = "KqlItem/1.0"
          query                   = chart.query
          title                   = chart.title
          size                    = 0
          queryType               = 0
          resourceType            = "microsoft.operationalinsights/workspaces"
          crossComponentResources = [azurerm_log_analytics_workspace.this.id]
          timeContext             = { durationMs = 14400000 }
        }
      }],
    )
  })
}
