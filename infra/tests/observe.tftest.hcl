# Who is told of what.
mock_provider "azurerm" {
  source = "./tests/mocks"
}

variables {
  resource_group_name      = "twinge-test"
  location                 = "westeurope"
  tags                     = {}
  base_name                = "twinge-test"
  public_access            = false
  emails                   = ["ops@example.com", "night@example.com"]
  webhooks                 = { pager = "https://example.com/hook" }
  retention_days           = 90
  daily_gb                 = 10
  always_runs              = true
  host_ids                 = ["/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.App/containerApps/twinge-test-host"]
  replicas_most            = 8
  namespace_id             = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.EventHub/namespaces/twinge-test"
  throughput_units_most    = 10
  vault_id                 = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.KeyVault/vaults/twinge-test"
  image_registry_id        = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.ContainerRegistry/registries/twingetest"
  environment_id           = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.App/managedEnvironments/twinge-test"
  retrain_action_group_ids = ["/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.Insights/actionGroups/retrain"]

  storage_account_ids = {
    lake        = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.Storage/storageAccounts/lake"
    registry    = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.Storage/storageAccounts/reg"
    checkpoints = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.Storage/storageAccounts/ckpt"
  }
}

run "rules" {
  module {
    source = "./modules/observe"
  }

  assert {
    condition = length(setsubtract(
      [for rule in yamldecode(file("monitoring/rules.yml")).groups[0].rules : rule.alert], output.alerts
    )) == 0
    error_message = "each alert of infra/monitoring/rules.yml must be one here too: ${join(", ", setsubtract([for rule in yamldecode(file("monitoring/rules.yml")).groups[0].rules : rule.alert], output.alerts))} is missing"
  }

  assert {
    condition = length(setsubtract(
      flatten([for rule in yamldecode(file("monitoring/rules.yml")).groups[0].rules : regexall("twinge_[a-z_]+", rule.expr)]), output.metrics
    )) == 0
    error_message = "the collector must keep every metric that infra/monitoring/rules.yml names"
  }

  assert {
    condition     = alltrue([for rule in azurerm_monitor_scheduled_query_rules_alert_v2.all : contains(rule.action[0].action_groups, azurerm_monitor_action_group.people.id)])
    error_message = "people must be told of every alert on logs"
  }

  assert {
    condition     = alltrue([for rule in azurerm_monitor_metric_alert.all : one(rule.action).action_group_id == azurerm_monitor_action_group.people.id])
    error_message = "people must be told of every alert on metrics"
  }

  assert {
    condition = (
      contains(azurerm_monitor_scheduled_query_rules_alert_v2.all["TwingeDrift"].action[0].action_groups, one(var.retrain_action_group_ids))
      && alltrue([for name, rule in azurerm_monitor_scheduled_query_rules_alert_v2.all : name == "TwingeDrift" || !contains(rule.action[0].action_groups, one(var.retrain_action_group_ids))])
    )
    error_message = "drift must set off a retraining, and nothing else may"
  }

  assert {
    condition     = alltrue([for rule in azurerm_monitor_scheduled_query_rules_alert_v2.all : can(regex("docs/operations.md#[a-z-]+", rule.description))])
    error_message = "each alert must say where it is told what to do"
  }

  assert {
    condition = alltrue([
      for rule in azurerm_monitor_scheduled_query_rules_alert_v2.all :
      strcontains(lower(file("../docs/operations.md")), "### ${regex("docs/operations.md#([a-z-]+)", rule.description)[0]}\n")
    ])
    error_message = "what an alert names in docs/alerts.md must be there"
  }

  assert {
    condition     = length(azurerm_monitor_action_group.people.email_receiver) == 2 && length(azurerm_monitor_action_group.people.webhook_receiver) == 1
    error_message = "everybody who was named must be told"
  }
}

run "kept_and_closed" {
  module {
    source = "./modules/observe"
  }

  assert {
    condition     = azurerm_log_analytics_workspace.this.retention_in_days == 90 && azurerm_application_insights.this.retention_in_days == 90
    error_message = "logs and metrics must be kept for retention_days"
  }

  assert {
    condition     = azurerm_log_analytics_workspace.this.daily_quota_gb == 10 && azurerm_application_insights.this.daily_data_cap_in_gb == 10
    error_message = "a day must have a bound"
  }

  assert {
    condition = (
      !azurerm_log_analytics_workspace.this.local_authentication_enabled
      && !azurerm_log_analytics_workspace.this.internet_ingestion_enabled && !azurerm_log_analytics_workspace.this.internet_query_enabled
      && !azurerm_application_insights.this.internet_ingestion_enabled && !azurerm_application_insights.this.internet_query_enabled
      && azurerm_monitor_private_link_scope.this[0].ingestion_access_mode == "PrivateOnly"
    )
    error_message = "telemetry must be closed to the internet"
  }

  assert {
    condition     = sort(keys(azurerm_monitor_diagnostic_setting.all)) == sort(["hubs", "images", "lake", "programs", "registry", "vault"])
    error_message = "who did what to hubs, images, modules, lake, vault and programs must be in the logs"
  }

  assert {
    condition     = length(jsondecode(azurerm_application_insights_workbook.this.data_json).items) == 9
    error_message = "the workbook must have its charts"
  }
}

run "hosts_that_may_be_none" {
  variables {
    always_runs = false
    host_ids    = []
  }

  module {
    source = "./modules/observe"
  }

  assert {
    condition     = !contains(output.alerts, "TwingeAbsent") && !contains(output.alerts, "TwingeRestarts")
    error_message = "where hosts may be none, their silence must be no alert"
  }
}
