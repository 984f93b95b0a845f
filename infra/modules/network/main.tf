# The network: a subnet of programs and one of private endpoints. Peer it with where operators, runners and
# devices are.
locals {
  size = tonumber(split("/", var.address_space)[1])

  subnets = {
    programs  = { block = cidrsubnet(var.address_space, 23 - local.size, 0), delegated = true }
    endpoints = { block = cidrsubnet(var.address_space, 24 - local.size, 2), delegated = false }
  }

  # HTTPS, and AMQP over TLS as Event Hubs' clients speak it.
  ports = ["443", "5671"]
}

resource "azurerm_virtual_network" "this" {
  name                = "${var.base_name}-network"
  resource_group_name = var.resource_group_name
  location            = var.location
  address_space       = [var.address_space]
  tags                = var.tags
}

resource "azurerm_subnet" "all" {
  for_each = local.subnets

  name                              = each.key
  resource_group_name               = var.resource_group_name
  virtual_network_name              = azurerm_virtual_network.this.name
  address_prefixes                  = [each.value.block]
  private_endpoint_network_policies = "Enabled"

  dynamic "delegation" {
    for_each = each.value.delegated ? ["Microsoft.App/environments"] : []

    content {
      name = "programs"

      service_delegation {
        name    = delegation.value
        actions = ["Microsoft.Network/virtualNetworks/subnets/join/action"]
      }
    }
  }
}

resource "azurerm_network_security_group" "all" {
  for_each = local.subnets

  name                = "${var.base_name}-${each.key}"
  resource_group_name = var.resource_group_name
  location            = var.location
  tags                = var.tags
}

resource "azurerm_network_security_rule" "endpoints_in" {
  name                        = "from-networks"
  resource_group_name         = var.resource_group_name
  network_security_group_name = azurerm_network_security_group.all["endpoints"].name
  priority                    = 100
  direction                   = "Inbound"
  access                      = "Allow"
  protocol                    = "Tcp"
  source_address_prefix       = "VirtualNetwork"
  source_port_range           = "*"
  destination_address_prefix  = "VirtualNetwork"
  destination_port_ranges     = local.ports
  description                 = "this network, and those that are peered with it"
}

resource "azurerm_network_security_rule" "endpoints_closed" {
  name                        = "nobody-else"
  resource_group_name         = var.resource_group_name
  network_security_group_name = azurerm_network_security_group.all["endpoints"].name
  priority                    = 4096
  direction                   = "Inbound"
  access                      = "Deny"
  protocol                    = "*"
  source_address_prefix       = "*"
  source_port_range           = "*"
  destination_address_prefix  = "*"
  destination_port_range      = "*"
  description                 = "whatever no rule above allows"
}

resource "azurerm_subnet_network_security_group_association" "all" {
  for_each = local.subnets

  subnet_id                 = azurerm_subnet.all[each.key].id
  network_security_group_id = azurerm_network_security_group.all[each.key].id
}
