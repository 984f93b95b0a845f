# What Azure would answer, so that what is put together from it looks as it does there.

mock_resource "azurerm_resource_group" {
  defaults = {
    id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test"
  }
}

mock_resource "azurerm_storage_account" {
  defaults = {
    id                   = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.Storage/storageAccounts/twingetest"
    primary_web_endpoint = "https://twingetest.z6.web.core.windows.net/"
  }
}

mock_resource "azurerm_eventhub_namespace" {
  defaults = {
    id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.EventHub/namespaces/twinge-test"
  }
}

mock_resource "azurerm_eventhub" {
  defaults = {
    id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.EventHub/namespaces/twinge-test/eventhubs/events"
  }
}

mock_resource "azurerm_eventhub_authorization_rule" {
  defaults = {
    primary_connection_string = "Endpoint=sb://twinge-test.servicebus.windows.net/;SharedAccessKeyName=send;SharedAccessKey=bm90IGEga2V5;EntityPath=events"
  }
}

mock_resource "azurerm_container_registry" {
  defaults = {
    id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.ContainerRegistry/registries/twingetest"
  }
}

mock_resource "azurerm_key_vault" {
  defaults = {
    id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.KeyVault/vaults/twinge-test"
  }
}

mock_resource "azurerm_user_assigned_identity" {
  defaults = {
    id           = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.ManagedIdentity/userAssignedIdentities/twinge-test"
    client_id    = "00000000-0000-0000-0000-000000000002"
    principal_id = "00000000-0000-0000-0000-000000000003"
    tenant_id    = "00000000-0000-0000-0000-000000000004"
  }
}

mock_resource "azurerm_log_analytics_workspace" {
  defaults = {
    id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.OperationalInsights/workspaces/twinge-test"
  }
}

mock_resource "azurerm_application_insights" {
  defaults = {
    id                = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.Insights/components/twinge-test"
    connection_string = "InstrumentationKey=00000000-0000-0000-0000-000000000005"
  }
}

mock_resource "azurerm_monitor_action_group" {
  defaults = {
    id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.Insights/actionGroups/twinge-test"
  }
}

mock_resource "azurerm_monitor_private_link_scope" {
  defaults = {
    id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.Insights/privateLinkScopes/twinge-test"
  }
}

mock_resource "azurerm_container_app_environment" {
  defaults = {
    id                = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.App/managedEnvironments/twinge-test"
    default_domain    = "kind-hill-01234567.westeurope.azurecontainerapps.io"
    static_ip_address = "10.60.0.10"
  }
}

mock_resource "azurerm_container_app" {
  defaults = {
    id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.App/containerApps/twinge-test"
  }
}

mock_resource "azurerm_container_app_job" {
  defaults = {
    id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.App/jobs/twinge-test"
  }
}

mock_resource "azurerm_logic_app_workflow" {
  defaults = {
    id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.Logic/workflows/twinge-test"
  }
}

mock_resource "azurerm_logic_app_trigger_http_request" {
  defaults = {
    id           = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.Logic/workflows/twinge-test/triggers/alert"
    callback_url = "https://example.logic.azure.com/workflows/0/triggers/alert/paths/invoke"
  }
}

mock_resource "azurerm_virtual_network" {
  defaults = {
    id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.Network/virtualNetworks/twinge-test"
  }
}

mock_resource "azurerm_subnet" {
  defaults = {
    id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.Network/virtualNetworks/twinge-test/subnets/programs"
  }
}

mock_resource "azurerm_network_security_group" {
  defaults = {
    id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.Network/networkSecurityGroups/twinge-test"
  }
}

mock_resource "azurerm_private_dns_zone" {
  defaults = {
    id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.Network/privateDnsZones/privatelink.blob.core.windows.net"
  }
}

mock_resource "azurerm_private_endpoint" {
  defaults = {
    id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.Network/privateEndpoints/twinge-test"
  }
}

mock_resource "azurerm_iothub" {
  defaults = {
    id = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/twinge-test/providers/Microsoft.Devices/IotHubs/twinge-test"
  }
}

mock_data "azurerm_client_config" {
  defaults = {
    subscription_id = "00000000-0000-0000-0000-000000000001"
    tenant_id       = "00000000-0000-0000-0000-000000000004"
    object_id       = "00000000-0000-0000-0000-000000000006"
  }
}

mock_data "azurerm_network_service_tags" {
  defaults = {
    ipv4_cidrs = ["192.0.2.0/28"]
  }
}
