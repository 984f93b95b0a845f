# Private endpoints, and the names in DNS by which programs in the network find them.
locals {
  zones_of = {
    blob         = ["privatelink.blob.core.windows.net"]
    dfs          = ["privatelink.dfs.core.windows.net"]
    web          = ["privatelink.web.core.windows.net"]
    namespace    = ["privatelink.servicebus.windows.net"]
    vault        = ["privatelink.vaultcore.azure.net"]
    registry     = ["privatelink.azurecr.io"]
    iotHub       = ["privatelink.azure-devices.net", "privatelink.servicebus.windows.net"]
    amlworkspace = ["privatelink.api.azureml.ms", "privatelink.notebooks.azure.net"]
    azuremonitor = [
      "privatelink.monitor.azure.com",
      "privatelink.oms.opinsights.azure.com",
      "privatelink.ods.opinsights.azure.com",
      "privatelink.agentsvc.azure-automation.net",
      "privatelink.blob.core.windows.net",
    ]
  }

  zones = toset(flatten([for endpoint in values(var.endpoints) : local.zones_of[endpoint.subresource]]))
}

resource "azurerm_private_dns_zone" "all" {
  for_each = local.zones

  name                = each.key
  resource_group_name = var.resource_group_name
  tags                = var.tags
}

resource "azurerm_private_dns_zone_virtual_network_link" "all" {
  for_each = local.zones

  name                  = "${var.base_name}-${replace(each.key, ".", "-")}"
  resource_group_name   = var.resource_group_name
  private_dns_zone_name = azurerm_private_dns_zone.all[each.key].name
  virtual_network_id    = var.network_id
  registration_enabled  = false
  tags                  = var.tags
}

resource "azurerm_private_endpoint" "all" {
  for_each = var.endpoints

  name                          = "${var.base_name}-${each.key}"
  resource_group_name           = var.resource_group_name
  location                      = var.location
  subnet_id                     = var.subnet_id
  custom_network_interface_name = "${var.base_name}-${each.key}-nic"
  tags                          = var.tags

  private_service_connection {
    name                           = each.key
    private_connection_resource_id = each.value.resource_id
    subresource_names              = [each.value.subresource]
    is_manual_connection           = false
  }

  private_dns_zone_group {
    name                 = "names"
    private_dns_zone_ids = [for zone in local.zones_of[each.value.subresource] : azurerm_private_dns_zone.all[zone].id]
  }

  depends_on = [azurerm_private_dns_zone_virtual_network_link.all]
}
