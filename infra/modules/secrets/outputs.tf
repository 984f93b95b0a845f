output "id" {
  description = "The vault."
  value       = azurerm_key_vault.this.id
}

output "name" {
  description = "Name of the vault."
  value       = azurerm_key_vault.this.name
}

output "uri" {
  description = "Address of the vault, with a slash at its end."
  value       = "https://${azurerm_key_vault.this.name}.vault.azure.net/"
}
