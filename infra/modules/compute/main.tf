# Where programs run. Hosts are in host.tf, jobs in jobs.tf, and what drift sets off in drift.tf.
locals {
  is_private = var.network != null

  # The host's own settings are the same everywhere; who it is follows from where it runs.
  programs = var.programs == null ? {} : { this = var.programs }
}

resource "azurerm_container_app_environment" "this" {
  name                           = "${var.base_name}-programs"
  resource_group_name            = var.resource_group_name
  location                       = var.location
  logs_destination               = "azure-monitor"
  infrastructure_subnet_id       = local.is_private ? var.network.subnet_id : null
  internal_load_balancer_enabled = local.is_private ? true : null
  zone_redundancy_enabled        = local.is_private ? true : null
  public_network_access          = local.is_private ? "Disabled" : "Enabled"
  tags                           = var.tags

  workload_profile {
    name                  = "Consumption"
    workload_profile_type = "Consumption"
  }
}

# An environment that is closed has names that only the network knows.
resource "azurerm_private_dns_zone" "programs" {
  count = local.is_private ? 1 : 0

  name                = azurerm_container_app_environment.this.default_domain
  resource_group_name = var.resource_group_name
  tags                = var.tags
}

resource "azurerm_private_dns_a_record" "programs" {
  count = local.is_private ? 1 : 0

  name                = "*"
  zone_name           = azurerm_private_dns_zone.programs[0].name
  resource_group_name = var.resource_group_name
  ttl                 = 300
  records             = [azurerm_container_app_environment.this.static_ip_address]
  tags                = var.tags
}

resource "azurerm_private_dns_zone_virtual_network_link" "programs" {
  count = local.is_private ? 1 : 0

  name                  = "${var.base_name}-programs"
  resource_group_name   = var.resource_group_name
  private_dns_zone_name = azurerm_private_dns_zone.programs[0].name
  virtual_network_id    = var.network.network_id
  registration_enabled  = false
  tags                  = var.tags
}
