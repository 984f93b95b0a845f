output "network_id" {
  description = "The network, to be peered with others."
  value       = azurerm_virtual_network.this.id
}

output "programs_subnet_id" {
  description = "The subnet of programs."
  value       = azurerm_subnet.all["programs"].id

  depends_on = [azurerm_subnet_network_security_group_association.all]
}

output "endpoints_subnet_id" {
  description = "The subnet of private endpoints."
  value       = azurerm_subnet.all["endpoints"].id

  depends_on = [azurerm_subnet_network_security_group_association.all, azurerm_network_security_rule.endpoints_in]
}
