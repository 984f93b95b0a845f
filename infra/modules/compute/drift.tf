# Drift sets off a retraining: its alert calls a workflow, which starts the job. KEDA cannot do this for a
# job that takes no message away (docs/decisions/0042).
locals {
  drift = { for key in keys(local.retrainings) : key => key if key == "retrain-drift" }
}

# Who may call: Azure Monitor, whose alerts these are.
data "azurerm_network_service_tags" "alerts" {
  for_each = local.drift

  location = var.location
  service  = "ActionGroup"
}

resource "azurerm_user_assigned_identity" "drift" {
  for_each = local.drift

  name                = "${var.base_name}-drift"
  resource_group_name = var.resource_group_name
  location            = var.location
  tags                = var.tags
}

resource "azurerm_role_assignment" "drift" {
  for_each = local.drift

  scope                = azurerm_container_app_job.retrain[each.key].id
  role_definition_name = "Container Apps Jobs Operator"
  principal_id         = azurerm_user_assigned_identity.drift[each.key].principal_id
  principal_type       = "ServicePrincipal"
  description          = "starts a retraining after drift"
}

resource "azurerm_logic_app_workflow" "drift" {
  for_each = local.drift

  name                = "${var.base_name}-drift"
  resource_group_name = var.resource_group_name
  location            = var.location
  tags                = var.tags

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.drift[each.key].id]
  }

  access_control {
    trigger {
      allowed_caller_ip_address_range = data.azurerm_network_service_tags.alerts[each.key].ipv4_cidrs
    }
  }
}

resource "azurerm_logic_app_trigger_http_request" "drift" {
  for_each = local.drift

  name         = "alert"
  logic_app_id = azurerm_logic_app_workflow.drift[each.key].id
  schema       = jsonencode({ type = "object" })
}

# An alert that has ended calls as well, and starts nothing.
resource "azurerm_logic_app_action_custom" "drift" {
  for_each = local.drift

  name         = "start"
  logic_app_id = azurerm_logic_app_workflow.drift[each.key].id

  body = jsonencode({
    type       = "If"
    expression = { and = [{ equals = ["@triggerBody()?['data']?['essentials']?['monitorCondition']", "Fired"] }] }
    runAfter   = {}
    actions = {
      job = {
        type = "Http"
        inputs = {
          method = "POST"
          uri    = "https://management.azure.com${azurerm_container_app_job.retrain[each.key].id}/start?api-version=2024-03-01"
          authentication = {
            type     = "ManagedServiceIdentity"
            identity = azurerm_user_assigned_identity.drift[each.key].id
            audience = "https://management.azure.com/"
          }
        }
        runAfter = {}
      }
    }
  })

  depends_on = [azurerm_logic_app_trigger_http_request.drift]
}

resource "azurerm_monitor_action_group" "drift" {
  for_each = local.drift

  name                = "${var.base_name}-retrain"
  resource_group_name = var.resource_group_name
  short_name          = "retrain"
  tags                = var.tags

  logic_app_receiver {
    name                    = "retrain"
    resource_id             = azurerm_logic_app_workflow.drift[each.key].id
    callback_url            = azurerm_logic_app_trigger_http_request.drift[each.key].callback_url
    use_common_alert_schema = true
  }
}
